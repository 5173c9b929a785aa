package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// The builders are ordinary images: in a layout next to those of the assets,
// under the tag <id>, and in a repository of a registry, under <id>-<arch>.
const (
	builderRepository = "builder"
	idAnnotation      = "io.katacontainers.builder.id"
	baseAnnotation    = "io.katacontainers.builder.base"
)

// Image is a builder image.
type Image struct {
	// ID is that of the builder's declaration, in hex; Arch its architecture.
	ID, Arch string
	// Base is what the builder was made of, as in a build record.
	Base string
	// Digest is that of the manifest, "sha256:<hex>".
	Digest string
}

// builderRef names a builder.
type builderRef struct{ id, arch string }

func (b builderRef) place() (string, string) { return builderRepository, b.id + "-" + b.arch }
func (b builderRef) local() string           { return b.id }

// String names the builder in messages.
func (b builderRef) String() string { return fmt.Sprintf("builder %.12s", b.id) }

func (b builderRef) check(m oci.Manifest) error {
	image, err := builderOf(m)
	if err == nil && (image.ID != b.id || image.Arch != b.arch) {
		err = oci.Damaged("is the builder %s of %s", image.ID, image.Arch)
	}
	return err
}

func builderOf(m oci.Manifest) (Image, error) {
	if m.MediaType != ocispec.MediaTypeImageManifest || m.Config.MediaType != ocispec.MediaTypeImageConfig || len(m.Layers) == 0 {
		return Image{}, oci.Damaged("is a foreign manifest of type %q with %d layers", m.MediaType, len(m.Layers))
	}
	image := Image{
		ID: m.Annotations[idAnnotation], Arch: m.Annotations[archAnnotation], Base: m.Annotations[baseAnnotation],
		Digest: m.Digest().String(),
	}
	if !validKey.MatchString(image.ID) {
		return Image{}, oci.Damaged("has no builder's ID")
	}
	return image, nil
}

// Builders keeps builder images.
type Builders struct {
	Local *Store
	// Registry may be nil.
	Registry *Registry
	// Push has the registry given what is made or found in the local store.
	Push bool
}

// Lock keeps others from making the same builder, as Store.Lock does for
// artifacts.
func (b *Builders) Lock(ctx context.Context, id string) (unlock func() error, err error) {
	if !validKey.MatchString(id) {
		return nil, fmt.Errorf("builder %q: want a SHA-256 in hex", id)
	}
	return b.Local.lock(ctx, builderRef{id: id}, "waiting for another build that makes the same builder")
}

// Get writes a builder to path as an OCI archive, an image layout in a tar: the
// one of the local store, or else that of the registry, which the local store
// then has. A miss is ErrNotFound. So is, with a warning, a damaged builder, which
// is removed from the local store, and a registry that fails.
func (b *Builders) Get(ctx context.Context, id, arch, path string) (image Image, where string, err error) {
	m, where, err := b.find(ctx, builderRef{id, arch})
	if err != nil {
		return Image{}, "", err
	}
	if where == InLocal {
		err = b.write(ctx, m, path)
		if !IsNotFound(err) || b.Registry == nil {
			image, _ = builderOf(m)
			return image, where, err
		}
		// What was damaged here may be whole there.
		if m, err = b.Registry.lookup(ctx, builderRef{id, arch}); err != nil {
			return Image{}, "", err
		}
	}
	ref := builderRef{id, arch}
	if err := b.Registry.pull(ctx, ref, m, b.Local); err != nil {
		return Image{}, "", b.Registry.absent(ref, err)
	}
	image, _ = builderOf(m)
	return image, InRegistry, b.write(ctx, m, path)
}

// Find says where a builder is, by its manifest only: InLocal or InRegistry. A
// miss is as in Get.
func (b *Builders) Find(ctx context.Context, id, arch string) (image Image, where string, err error) {
	m, where, err := b.find(ctx, builderRef{id, arch})
	if err != nil {
		return Image{}, "", err
	}
	image, err = builderOf(m)
	return image, where, err
}

func (b *Builders) find(ctx context.Context, ref builderRef) (oci.Manifest, string, error) {
	return find(ctx, b.Local, b.Registry, ref)
}

// Put keeps the builder that is in an OCI archive at path.
func (b *Builders) Put(ctx context.Context, image Image, path string) (Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return Image{}, fmt.Errorf("opening the builder: %w", err)
	}
	defer file.Close()
	parts, blobs, err := oci.ReadArchive(file)
	if err != nil {
		return Image{}, fmt.Errorf("reading the builder: %w", err)
	}
	made := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    oci.Bare(parts.Config),
		Annotations: map[string]string{
			idAnnotation: image.ID, archAnnotation: image.Arch, baseAnnotation: image.Base,
		},
	}
	for _, layer := range parts.Layers {
		made.Layers = append(made.Layers, oci.Bare(layer))
	}
	m, err := oci.NewManifest(made)
	if err != nil {
		return Image{}, err
	}
	image.Digest = m.Digest().String()
	return image, b.Local.layout(builderRepository).Add(ctx, image.ID, m, blobs)
}

// Publish gives the registry a builder of the local store, unless it has one.
func (b *Builders) Publish(ctx context.Context, id, arch string) (pushed bool, err error) {
	ref := builderRef{id, arch}
	m, err := b.Local.find(ctx, ref)
	if err != nil {
		return false, fmt.Errorf("reading the builder to push: %w", err)
	}
	return b.Registry.publish(ctx, ref, m, b.Local.blobs(builderRepository, m))
}

// write writes a builder of the local store as an OCI archive. A damaged one is
// removed from the store.
func (b *Builders) write(ctx context.Context, m oci.Manifest, path string) error {
	l := b.Local.layout(builderRepository)
	err := l.WriteArchive(ctx, path, m)
	var damaged *oci.DamagedBlob
	if !errors.As(err, &damaged) {
		return err
	}
	id := m.Annotations[idAnnotation]
	l.Note(fmt.Sprintf("discarding the stored builder %.12s: %v", id, damaged))
	err = l.Drop(ctx, id, m.Digest(), damaged.File)
	if damaged.File != nil {
		err = errors.Join(err, damaged.File.Close())
	}
	return errors.Join(err, fmt.Errorf("builder %s: %w", id, ErrNotFound))
}
