package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// Media types of an artifact and its parts.
const (
	artifactType = "application/vnd.kata-containers.asset.v1"
	recipeType   = "application/vnd.kata-containers.asset.recipe.v1+json"
	tarballType  = "application/vnd.kata-containers.asset.layer.v1.tar+zstd"
	recordType   = "application/vnd.kata-containers.asset.record.v1+json"
	outputType   = "application/vnd.kata-containers.asset.output.v1.tar+zstd"
)

// Annotations of a manifest: with the digest of the config they make its tag,
// so that an index can be rebuilt.
const (
	assetAnnotation = "io.katacontainers.asset.name"
	archAnnotation  = "io.katacontainers.asset.arch"
	// outputAnnotation is on the layer of a secondary output: its name.
	outputAnnotation = "io.katacontainers.asset.output"
)

// Limits in bytes of what is read into memory: registries accept manifests up
// to the first.
const (
	maxManifest = 4 << 20
	maxDocument = 64 << 20
)

// parts are the contents that a manifest names: outputs are the secondary
// tarballs, each with its name and in the order of the names.
type parts struct {
	recipe, tarball, record ocispec.Descriptor
	outputs                 []namedPart
}

type namedPart struct {
	name string
	ocispec.Descriptor
}

// manifest returns the manifest of an artifact and its descriptor. What is
// published about an artifact (signatures, provenance, an SBOM) has no place in
// it: that refers to it, as OCI referrers do.
func manifest(ref Ref, p parts) ([]byte, ocispec.Descriptor, error) {
	p.tarball.Annotations = map[string]string{ocispec.AnnotationTitle: title(ref.Asset, "")}
	layers := []ocispec.Descriptor{p.tarball, p.record}
	for _, output := range p.outputs {
		output.MediaType = outputType
		output.Annotations = map[string]string{
			ocispec.AnnotationTitle: title(ref.Asset, output.name), outputAnnotation: output.name,
		}
		layers = append(layers, output.Descriptor)
	}
	data, err := json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       p.recipe,
		Layers:       layers,
		Annotations:  map[string]string{assetAnnotation: ref.Asset, archAnnotation: ref.Arch},
	})
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("encoding the manifest: %w", err)
	}
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, data)
	descriptor.ArtifactType = artifactType
	return data, descriptor, nil
}

// title is the file name of a tarball, by which other OCI clients save it.
func title(asset, output string) string {
	if output != "" {
		asset += "-" + output
	}
	return "kata-static-" + asset + ".tar.zst"
}

// parse checks a manifest and returns what it says: an artifact without its
// recipe and record. The error is *damage.
func parse(data []byte) (Artifact, ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Artifact{}, m, &damage{fmt.Sprintf("has a manifest that is not JSON: %v", err)}
	}
	if err := checkManifest(m); err != nil {
		return Artifact{}, m, err
	}
	artifact := Artifact{
		Ref:    Ref{Asset: m.Annotations[assetAnnotation], Arch: m.Annotations[archAnnotation], Key: m.Config.Digest.Encoded()},
		Digest: m.Layers[0].Digest.String(), Size: m.Layers[0].Size, Manifest: digest.FromBytes(data).String(),
	}
	for _, layer := range m.Layers[2:] {
		artifact.Outputs = append(artifact.Outputs, Output{
			Name: layer.Annotations[outputAnnotation], Digest: layer.Digest.String(), Size: layer.Size,
		})
	}
	return artifact, m, nil
}

// load reads an artifact from its manifest. The error is *damage where parts
// are missing or are not what they should be.
func (l *layout) load(ctx context.Context, descriptor ocispec.Descriptor) (Artifact, error) {
	data, err := l.read(ctx, "manifest", descriptor, maxManifest)
	if err != nil {
		return Artifact{}, err
	}
	artifact, m, err := parse(data)
	if err != nil {
		return Artifact{}, err
	}
	if artifact.Recipe, err = l.read(ctx, "recipe", m.Config, maxDocument); err != nil {
		return Artifact{}, err
	}
	if artifact.Record, err = l.read(ctx, "record", m.Layers[1], maxDocument); err != nil {
		return Artifact{}, err
	}
	for _, output := range append([]Output{artifact.main()}, artifact.Outputs...) {
		if err := l.present(output); err != nil {
			return Artifact{}, err
		}
	}
	return artifact, nil
}

func checkManifest(m ocispec.Manifest) error {
	if m.MediaType != ocispec.MediaTypeImageManifest || m.ArtifactType != artifactType {
		return &damage{fmt.Sprintf("is a foreign manifest of type %q, artifactType %q", m.MediaType, m.ArtifactType)}
	}
	all := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	types := []string{recipeType, tarballType, recordType}
	if len(all) < len(types) {
		return &damage{fmt.Sprintf("has %d layers, want the tarball and the record", len(m.Layers))}
	}
	last := ""
	for i, part := range all {
		want := outputType
		if i < len(types) {
			want = types[i]
		} else {
			name := part.Annotations[outputAnnotation]
			if !validName.MatchString(name) || name <= last {
				return &damage{fmt.Sprintf("has an output named %q after %q, want names in order", name, last)}
			}
			last = name
		}
		if part.MediaType != want {
			return &damage{fmt.Sprintf("has a part of type %q, want %q", part.MediaType, want)}
		}
		if err := part.Digest.Validate(); err != nil || part.Digest.Algorithm() != digest.SHA256 || part.Size < 0 {
			return &damage{fmt.Sprintf("names a part of %d bytes by %q, want a sha256 digest", part.Size, part.Digest)}
		}
	}
	return nil
}

// read returns a blob of at most limit bytes, verified.
func (l *layout) read(ctx context.Context, what string, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, &damage{fmt.Sprintf("has a %s of %d bytes, more than %d", what, d.Size, limit)}
	}
	blobs, err := l.blobs()
	if err != nil {
		return nil, err
	}
	data, err := content.FetchAll(ctx, blobs, d)
	switch {
	case err == nil:
		return data, nil
	case errors.Is(err, ErrNotFound), errors.Is(err, errdef.ErrInvalidDigest),
		errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData),
		errors.Is(err, content.ErrInvalidDescriptorSize), isShort(err):
		return nil, &damage{fmt.Sprintf("has a damaged %s: %v", what, err)}
	}
	return nil, fmt.Errorf("reading a %s of the store: %w", what, err)
}

// present makes sure that a tarball is there with its size.
func (l *layout) present(output Output) error {
	info, err := os.Stat(l.path(digest.Digest(output.Digest)))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &damage{"has lost its " + output.what()}
	case err != nil:
		return fmt.Errorf("looking for a tarball of the store: %w", err)
	case info.Size() != output.Size:
		return &damage{fmt.Sprintf("has a %s of %d bytes, want %d", output.what(), info.Size(), output.Size)}
	}
	return nil
}

// path is where a layout keeps a blob; the digest is valid.
func (l *layout) path(d digest.Digest) string {
	return filepath.Join(l.root, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}
