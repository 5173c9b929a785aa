package store

import (
	"cmp"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// entry names what is kept: an artifact, a builder, or a source.
type entry interface {
	// place returns the repository, and the tag there; local the tag in the layout.
	place() (repository, tag string)
	local() string
	// check makes sure that a manifest is the entry's; the error is *oci.Damage.
	check(m oci.Manifest) error
	// String is what messages call it: "artifact <tag> of qemu".
	String() string
}

// entryOf returns what a repository keeps under a tag; ok is false for what is not
// an entry.
func entryOf(repository, tag string) (e entry, ok bool) {
	switch repository {
	case builderRepository:
		id, arch, _ := strings.Cut(tag, "-")
		return builderRef{id, arch}, validKey.MatchString(id) && validName.MatchString(arch)
	case sourceRepository:
		hash, ok := sourceHash(tag)
		return sourceRef(hash), ok
	}
	return refOf(repository, tag)
}

// refOf returns the artifact of a tag.
func refOf(asset, tag string) (Ref, bool) {
	key, arch, _ := strings.Cut(tag, "-")
	ref := Ref{Asset: asset, Arch: arch, Key: key}
	return ref, ref.validate() == nil
}

// localTag returns the tag of a manifest in the layout of a name. The error is
// *oci.Damage where it is none of that layout.
func localTag(name string, m oci.Manifest) (string, error) {
	if name == builderRepository {
		image, err := builderOf(m)
		return image.ID, err
	}
	if m.ArtifactType == proofType {
		err := checkProof(m, "")
		if err != nil {
			return "", err
		}
		return tagOfProof(m.Subject.Digest, m.Digest()), nil
	}
	if err := checkManifest(m); err != nil {
		return "", err
	}
	artifact := artifactOf(m)
	if artifact.Asset != name || artifact.validate() != nil {
		return "", oci.Damaged("is of asset %q, arch %q, key %s", artifact.Asset, artifact.Arch, artifact.Key)
	}
	return artifact.Tag(), nil
}

func (r Ref) place() (string, string) { return r.Asset, r.Tag() }

func (r Ref) local() string { return r.Tag() }

// String names the artifact in messages.
func (r Ref) String() string { return fmt.Sprintf("artifact %s of %s", r.Tag(), r.Asset) }

func (r Ref) check(m oci.Manifest) error {
	if err := checkManifest(m); err != nil {
		return err
	}
	if a := artifactOf(m); a.Ref != r {
		return oci.Damaged("is of asset %q, arch %q, key %s", a.Asset, a.Arch, a.Key)
	}
	return nil
}

func (r Ref) compare(other Ref) int {
	return cmp.Or(strings.Compare(r.Asset, other.Asset), strings.Compare(r.Arch, other.Arch), strings.Compare(r.Key, other.Key))
}

// movingRef is what a moving tag points at: any artifact of the asset.
type movingRef struct{ asset, tag string }

func (t movingRef) place() (string, string) { return t.asset, t.tag }
func (t movingRef) local() string           { return t.tag }

// String names the tag in messages.
func (t movingRef) String() string { return fmt.Sprintf("tag %s of %s", t.tag, t.asset) }

func (t movingRef) check(m oci.Manifest) error { return checkManifest(m) }

// partName names a part of an entry in messages.
func partName(part ocispec.Descriptor) string {
	switch part.MediaType {
	case recipeType:
		return "recipe"
	case recordType:
		return "record"
	case tarballType, outputType:
		return Output{Name: part.Annotations[outputAnnotation]}.what()
	case ocispec.MediaTypeImageConfig:
		return "config"
	}
	return "layer"
}
