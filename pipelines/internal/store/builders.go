package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Builders are ordinary images. Their tag is <id> in a layout next to those of the
// assets, and <id>-<arch> in a repository of a registry.
const (
	builderRepository = "builder"
	idAnnotation      = "io.katacontainers.builder.id"
	baseAnnotation    = "io.katacontainers.builder.base"
)

// Image is a builder image.
type Image struct {
	// ID is the hash of the builder's declaration, in hex; Arch the architecture.
	ID, Arch string
	// Base is the base image, as in a build record.
	Base string
	// Digest is the digest of the manifest, "sha256:<hex>".
	Digest string
}

type builderRef struct{ id, arch string }

func (b builderRef) validate() error {
	if !validKey.MatchString(b.id) {
		return fmt.Errorf("builder %q: want a SHA-256 in hex", b.id)
	}
	return validateName("arch of a builder", b.arch)
}

func (b builderRef) place() (string, string) { return builderRepository, b.id + "-" + b.arch }
func (b builderRef) local() string           { return b.id }
func (b builderRef) claim() trust.Claim      { return trust.Claim{"builder": b.id, "arch": b.arch} }

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

// Builders stores builder images.
type Builders struct {
	Local *Local
	// Registry may be nil.
	Registry *Registry
	// Push says to push builders that are made, or found in the local store.
	Push bool
}

// Lock is Local.Lock for builders.
func (b *Builders) Lock(ctx context.Context, id, arch string) (unlock func(), err error) {
	return b.Local.lock(ctx, builderRef{id, arch}, "waiting for another build that makes the same builder")
}

// Get writes a builder to path as an OCI archive, an image layout in a tar. It takes the
// builder from the local store, or else pulls it from the registry into the local store.
// A miss is ErrNotFound. It warns of a damaged builder, which it removes from the local
// store, and of a failed registry, and treats both as misses.
func (b *Builders) Get(ctx context.Context, id, arch, path string) (image Image, where string, err error) {
	ref := builderRef{id, arch}
	m, where, err := find(ctx, b.Local, b.Registry, ref)
	if err == nil && where == InLocal {
		if err = b.check(ctx, ref, m); IsNotFound(err) {
			m, where, err = find(ctx, b.Local, b.Registry, ref) // The registry may have a whole one.
		}
	}
	if err == nil && where == InRegistry {
		err = b.Registry.absent(ref, b.Registry.pull(ctx, ref, m, b.Local))
	}
	if err != nil {
		return Image{}, "", err
	}
	image, err = builderOf(m)
	return image, where, errors.Join(err, oci.WriteArchive(ctx, path, m, b.Local.layout(builderRepository).Blobs(m)))
}

// check hashes a builder of the local store, and removes a damaged one.
func (b *Builders) check(ctx context.Context, ref builderRef, m oci.Manifest) error {
	l := b.Local.layout(builderRepository)
	for _, part := range m.Parts() {
		whole, err := l.Holds(ctx, part)
		if err != nil {
			return err
		}
		if whole {
			continue
		}
		l.Note(fmt.Sprintf("discarding the stored %s: its %s %s is damaged", ref, partName(part), part.Digest))
		return errors.Join(l.Drop(ctx, ref.local(), m.Digest(), part), fmt.Errorf("%s: %w", ref, ErrNotFound))
	}
	return nil
}

// Find looks a builder up by its manifest only; where is InLocal or InRegistry. Misses
// are those of Get.
func (b *Builders) Find(ctx context.Context, id, arch string) (image Image, where string, err error) {
	m, where, err := find(ctx, b.Local, b.Registry, builderRef{id, arch})
	if err != nil {
		return Image{}, "", err
	}
	image, err = builderOf(m)
	return image, where, err
}

// Put stores the builder that is in an OCI archive at path.
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
		Config: oci.Bare(parts.Config),
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
	m.Origin = builtHere
	image.Digest = m.Digest().String()
	err = b.Local.layout(builderRepository).Add(ctx, image.ID, m, blobs)
	b.Local.use(builderRef{image.ID, image.Arch}, m)
	return image, err
}

// Publish pushes a builder of the local store, unless the registry has one, and signs it.
func (b *Builders) Publish(ctx context.Context, id, arch string) (pushed bool, err error) {
	ref := builderRef{id, arch}
	m, err := b.Local.find(ctx, ref)
	if err != nil {
		return false, fmt.Errorf("reading the builder to push: %w", err)
	}
	pushed, err = b.Registry.publish(ctx, ref, m, b.Local.blobs(builderRepository, m))
	if err == nil {
		err = b.Registry.sealBuilder(ctx, ref, m, b.Local)
	}
	return pushed, b.Registry.hinted(err)
}
