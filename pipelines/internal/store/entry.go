package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Media types of an artifact and its parts, and the annotations of its manifest. The
// annotations and the digest of the config determine the tag, so that an index can be
// rebuilt.
const (
	artifactType = "application/vnd.kata-containers.asset.v1"
	recipeType   = "application/vnd.kata-containers.asset.recipe.v1+json"
	tarballType  = "application/vnd.kata-containers.asset.layer.v1.tar+zstd"
	recordType   = "application/vnd.kata-containers.asset.record.v1+json"
	outputType   = "application/vnd.kata-containers.asset.output.v1.tar+zstd"

	assetAnnotation = "io.katacontainers.asset.name"
	archAnnotation  = "io.katacontainers.asset.arch"
	// outputAnnotation is on the layer of a secondary output: its name.
	outputAnnotation = "io.katacontainers.asset.output"
)

// entry names an artifact, a builder, a source, or a document about one of these.
type entry interface {
	// validate refuses names that are not valid in a path or a tag. Call it before any
	// other method.
	validate() error
	// place returns the repository, which is also the layout's name, and the tag there;
	// local returns the tag in the layout.
	place() (repository, tag string)
	local() string
	// check makes sure that a manifest is the entry's; the error is *oci.Damage.
	check(m oci.Manifest) error
	// claim returns what a signed statement must say of the entry; nil if the entry needs
	// no signature.
	claim() trust.Claim
	// String names the entry in messages: "artifact <tag> of qemu".
	String() string
}

// entryOf returns the entry of a repository's tag; ok is false for other tags.
func entryOf(repository, tag string) (e entry, ok bool) {
	first, arch, _ := strings.Cut(tag, "-")
	switch repository {
	case builderRepository:
		e = builderRef{first, arch}
	case sourceRepository:
		e = sourceOf(tag)
	default:
		e = Ref{Asset: repository, Arch: arch, Key: first}
	}
	return e, e.validate() == nil
}

// localTag returns the tag of a manifest in the layout of a name. The error is
// *oci.Damage if the manifest does not belong there.
func localTag(name string, m oci.Manifest) (string, error) {
	if m.Subject != nil {
		a, err := referrerOf(name, m)
		if err != nil {
			return "", err
		}
		return a.local(), nil
	}
	if name == builderRepository {
		image, err := builderOf(m)
		return image.ID, err
	}
	ref, err := refOf(m)
	if err == nil && (ref.Asset != name || ref.validate() != nil) {
		err = oci.Damaged("is of asset %q, arch %q, key %s", ref.Asset, ref.Arch, ref.Key)
	}
	return ref.Tag(), err
}

// Ref names an artifact.
type Ref struct {
	Asset, Arch string
	// Key is the SHA-256 of the canonical recipe, in hex.
	Key string
}

// Tag returns the artifact's tag in its layout or repository.
func (r Ref) Tag() string { return r.Key + "-" + r.Arch }

func (r Ref) place() (string, string) { return r.Asset, r.Tag() }
func (r Ref) local() string           { return r.Tag() }
func (r Ref) claim() trust.Claim      { return trust.Claim{"asset": r.Asset, "arch": r.Arch, "key": r.Key} }

func (r Ref) String() string { return fmt.Sprintf("artifact %s of %s", r.Tag(), r.Asset) }

// Names become parts of paths, tags and repositories.
var (
	validName = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)
	validKey  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func validateName(what, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%s %q: want lower-case letters, digits and single . _ - between them", what, name)
	}
	return nil
}

func (r Ref) validate() error {
	err := validateName("asset name", r.Asset)
	if err == nil {
		err = validateName("arch of "+r.Asset, r.Arch)
	}
	if err == nil && !validKey.MatchString(r.Key) {
		err = fmt.Errorf("key %q of %s: want a SHA-256 in hex", r.Key, r.Asset)
	}
	return err
}

func (r Ref) check(m oci.Manifest) error {
	found, err := refOf(m)
	if err == nil && found != r {
		err = oci.Damaged("is of asset %q, arch %q, key %s", found.Asset, found.Arch, found.Key)
	}
	return err
}

func (r Ref) compare(other Ref) int {
	return cmp.Or(strings.Compare(r.Asset, other.Asset), strings.Compare(r.Arch, other.Arch), strings.Compare(r.Key, other.Key))
}

// movingRef names a moving tag, which points at any artifact of the asset.
type movingRef struct{ asset, tag string }

func (t movingRef) validate() error         { return validateName("asset name", t.asset) }
func (t movingRef) place() (string, string) { return t.asset, t.tag }
func (t movingRef) local() string           { return t.tag }
func (t movingRef) claim() trust.Claim      { return nil }

func (t movingRef) String() string { return fmt.Sprintf("tag %s of %s", t.tag, t.asset) }

func (t movingRef) check(m oci.Manifest) error {
	ref, err := refOf(m)
	if err == nil && ref.Asset != t.asset {
		err = oci.Damaged("is of asset %q", ref.Asset)
	}
	return err
}

// refOf returns the name of the artifact that a manifest describes. Its config is the
// recipe, its layers are the tarball, the record, and secondary tarballs sorted by name.
// The error for any other manifest is *oci.Damage.
func refOf(m oci.Manifest) (Ref, error) {
	if m.MediaType != ocispec.MediaTypeImageManifest || m.ArtifactType != artifactType {
		return Ref{}, oci.Damaged("is a foreign manifest of type %q, artifactType %q", m.MediaType, m.ArtifactType)
	}
	if len(m.Layers) < 2 {
		return Ref{}, oci.Damaged("has %d layers, want the tarball and the record", len(m.Layers))
	}
	first, last := []string{recipeType, tarballType, recordType}, ""
	for i, part := range m.Parts() {
		want := outputType
		if i < len(first) {
			want = first[i]
		} else if name := part.Annotations[outputAnnotation]; !validName.MatchString(name) || name <= last {
			return Ref{}, oci.Damaged("has an output named %q after %q, want names in order", name, last)
		} else {
			last = name
		}
		if part.MediaType != want {
			return Ref{}, oci.Damaged("has a part of type %q, want %q", part.MediaType, want)
		}
	}
	return Ref{Asset: m.Annotations[assetAnnotation], Arch: m.Annotations[archAnnotation], Key: m.Config.Digest.Encoded()}, nil
}

// artifactOf returns the artifact of a checked manifest, without its recipe.
func artifactOf(ref Ref, m oci.Manifest) Artifact {
	m.Origin = "" // It is the layout's, not the artifact's.
	artifact := Artifact{Ref: ref, Digest: m.Layers[0].Digest.String(), Size: m.Layers[0].Size, Manifest: m}
	for _, layer := range m.Layers[2:] {
		artifact.Outputs = append(artifact.Outputs, Output{
			Name: layer.Annotations[outputAnnotation], Digest: layer.Digest.String(), Size: layer.Size,
		})
	}
	return artifact
}

// isTarball reports whether a part of an entry is a tarball of an artifact.
func isTarball(part ocispec.Descriptor) bool {
	return part.MediaType == tarballType || part.MediaType == outputType
}

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

// Tags have at most 128 characters. A name that must be shortened or changed gets a part
// of its hash as a suffix, so that two names do not share a tag by chance.
const (
	longestTag = 128
	hashPart   = 8
)

var notInTags = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// Prefixes of the moving tags.
const (
	latestTag  = "latest-"
	commitTag  = "commit-"
	releaseTag = "release-"
)

// MovingTag returns the tag <prefix>-<name>-<arch>, valid whatever the name: a
// branch feature/x becomes latest-feature-x-<hash>-x86_64.
func MovingTag(prefix, name, arch string) string {
	clean := notInTags.ReplaceAllString(name, "-")
	room := longestTag - len(prefix) - len(arch) - 2
	if clean == name && clean != "" && len(clean) <= room {
		return prefix + "-" + name + "-" + arch
	}
	sum := sha256.Sum256([]byte(name))
	clean = strings.Trim(clean[:min(len(clean), room-hashPart-1)], "-")
	return strings.TrimSuffix(prefix+"-"+clean, "-") + "-" + hex.EncodeToString(sum[:])[:hashPart] + "-" + arch
}
