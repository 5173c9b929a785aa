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
)

// Annotations of a manifest: with the digest of the config they make its tag,
// so that an index can be rebuilt.
const (
	assetAnnotation = "io.katacontainers.asset.name"
	archAnnotation  = "io.katacontainers.asset.arch"
)

// Limits in bytes of what is read into memory: registries accept manifests up
// to the first.
const (
	maxManifest = 4 << 20
	maxDocument = 64 << 20
)

// manifest returns the manifest of an artifact and its descriptor.
func manifest(ref Ref, recipe, tarball, record ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	tarball.Annotations = map[string]string{ocispec.AnnotationTitle: "kata-static-" + ref.Asset + ".tar.zst"}
	data, err := json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       recipe,
		Layers:       []ocispec.Descriptor{tarball, record},
		Annotations:  map[string]string{assetAnnotation: ref.Asset, archAnnotation: ref.Arch},
	})
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("encoding the manifest: %w", err)
	}
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, data)
	descriptor.ArtifactType = artifactType
	return data, descriptor, nil
}

// load reads an artifact from its manifest. The error is *damage where parts
// are missing or are not what they should be.
func (l *layout) load(ctx context.Context, descriptor ocispec.Descriptor) (Artifact, error) {
	data, err := l.read(ctx, "manifest", descriptor, maxManifest)
	if err != nil {
		return Artifact{}, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Artifact{}, &damage{fmt.Sprintf("has a manifest that is not JSON: %v", err)}
	}
	if err := checkManifest(m); err != nil {
		return Artifact{}, err
	}
	recipe, err := l.read(ctx, "recipe", m.Config, maxDocument)
	if err != nil {
		return Artifact{}, err
	}
	tarball, record := m.Layers[0], m.Layers[1]
	recorded, err := l.read(ctx, "record", record, maxDocument)
	if err != nil {
		return Artifact{}, err
	}
	if err := l.present(tarball); err != nil {
		return Artifact{}, err
	}
	return Artifact{
		Ref:    Ref{Asset: m.Annotations[assetAnnotation], Arch: m.Annotations[archAnnotation], Key: m.Config.Digest.Encoded()},
		Digest: tarball.Digest.String(), Size: tarball.Size,
		Recipe: recipe, Record: recorded, Manifest: descriptor.Digest.String(),
	}, nil
}

func checkManifest(m ocispec.Manifest) error {
	if m.MediaType != ocispec.MediaTypeImageManifest || m.ArtifactType != artifactType {
		return &damage{fmt.Sprintf("is a foreign manifest of type %q, artifactType %q", m.MediaType, m.ArtifactType)}
	}
	parts := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	types := []string{recipeType, tarballType, recordType}
	if len(parts) < len(types) {
		return &damage{fmt.Sprintf("has %d layers, want the tarball and the record", len(m.Layers))}
	}
	for i, want := range types {
		if parts[i].MediaType != want {
			return &damage{fmt.Sprintf("has a part of type %q, want %q", parts[i].MediaType, want)}
		}
		if err := parts[i].Digest.Validate(); err != nil || parts[i].Digest.Algorithm() != digest.SHA256 {
			return &damage{fmt.Sprintf("names a part by %q, want a sha256 digest", parts[i].Digest)}
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

// present makes sure that a blob is there with its size.
func (l *layout) present(d ocispec.Descriptor) error {
	info, err := os.Stat(l.path(d.Digest))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &damage{"has lost its tarball"}
	case err != nil:
		return fmt.Errorf("looking for a tarball of the store: %w", err)
	case info.Size() != d.Size:
		return &damage{fmt.Sprintf("has a tarball of %d bytes, want %d", info.Size(), d.Size)}
	}
	return nil
}

// path is where a layout keeps a blob; the digest is valid.
func (l *layout) path(d digest.Digest) string {
	return filepath.Join(l.root, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}
