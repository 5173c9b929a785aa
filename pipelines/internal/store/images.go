package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// The builders are ordinary images: in a layout beside those of the assets,
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
	path := filepath.Join(b.Local.dir, locksFolder, builderRepository, id)
	return b.Local.flock(ctx, path, "waiting for another build that makes the same builder")
}

// Get writes a builder to path as an OCI archive, an image layout in a tar: the
// one of the local store, or else that of the registry, which the local store
// then has. A miss is ErrNotFound. So is, with a note, a damaged builder, which
// is removed from the local store, and a registry that fails.
func (b *Builders) Get(ctx context.Context, id, arch, path string) (image Image, where string, err error) {
	image, where, err = b.Find(ctx, id, arch)
	if err == nil && where == InRegistry {
		image, err = b.pull(ctx, id, arch)
	}
	if err != nil {
		return Image{}, "", err
	}
	err = b.write(ctx, image, path)
	if IsNotFound(err) && where == InLocal && b.Registry != nil {
		// What was damaged here may be whole there.
		if image, err = b.pull(ctx, id, arch); err == nil {
			where, err = InRegistry, b.write(ctx, image, path)
		}
	}
	if err != nil {
		return Image{}, "", err
	}
	return image, where, nil
}

// Find says where a builder is, by its manifest alone: InLocal or InRegistry. A
// miss is as in Get.
func (b *Builders) Find(ctx context.Context, id, arch string) (image Image, where string, err error) {
	l := b.Local.layout(builderRepository)
	e, err := l.tagged(ctx, id)
	if err == nil {
		image, err = builderOf(e)
	}
	var damaged *damage
	switch {
	case err == nil && image.ID == id && image.Arch == arch:
		return image, InLocal, nil
	case errors.As(err, &damaged):
		b.Local.tell(fmt.Sprintf("the stored builder %.12s is ignored: it %v", id, damaged))
	case err != nil && !IsNotFound(err):
		return Image{}, "", err
	}
	if b.Registry == nil {
		return Image{}, "", fmt.Errorf("builder %s: %w", id, ErrNotFound)
	}
	if image, _, err = b.remote(ctx, id, arch); err != nil {
		return Image{}, "", err
	}
	return image, InRegistry, nil
}

// remote reads what the registry has of a builder.
func (b *Builders) remote(ctx context.Context, id, arch string) (Image, entry, error) {
	what, ref := fmt.Sprintf("the builder %.12s", id), shared(builderRepository, id+"-"+arch)
	if b.Registry.ignored(ref) {
		return Image{}, entry{}, fmt.Errorf("%s in %s: %w", what, b.Registry, ErrNotFound)
	}
	e, err := b.Registry.entry(ctx, builderRepository, id+"-"+arch)
	if err == nil {
		err = checkBuilder(e, id, arch)
	}
	if err != nil {
		return Image{}, entry{}, b.Registry.absent(ref, what, err)
	}
	image, err := builderOf(e)
	return image, e, err
}

// pull brings a builder from the registry into the local store.
func (b *Builders) pull(ctx context.Context, id, arch string) (Image, error) {
	image, e, err := b.remote(ctx, id, arch)
	if err != nil {
		return Image{}, err
	}
	l := b.Local.layout(builderRepository)
	if err := l.locked(ctx, func() error { _, err := l.prepare(ctx); return err }); err != nil {
		return Image{}, err
	}
	need := l.missing(e.parts())
	for _, part := range e.parts() {
		if err := roomier(b.Registry.receive(ctx, l, part), l.store.dir, need); err != nil {
			return Image{}, b.Registry.unread(shared(builderRepository, id+"-"+arch), fmt.Sprintf("the builder %.12s", id), err)
		}
	}
	return image, l.add(ctx, id, []blob{{e.descriptor(), inMemory(e.data)}})
}

// Put keeps the builder that is in an OCI archive at path.
func (b *Builders) Put(ctx context.Context, image Image, path string) (Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return Image{}, fmt.Errorf("opening the builder: %w", err)
	}
	defer file.Close()
	parts, blobs, err := readArchive(file)
	if err != nil {
		return Image{}, fmt.Errorf("reading the builder: %w", err)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    bare(parts.Config),
		Annotations: map[string]string{
			idAnnotation: image.ID, archAnnotation: image.Arch, baseAnnotation: image.Base,
		},
	}
	for _, layer := range parts.Layers {
		m.Layers = append(m.Layers, bare(layer))
	}
	data, err := json.Marshal(m)
	if err != nil {
		return Image{}, fmt.Errorf("encoding the manifest: %w", err)
	}
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, data)
	image.Digest = descriptor.Digest.String()
	if err := b.Local.layout(builderRepository).add(ctx, image.ID, append(blobs, blob{descriptor, inMemory(data)})); err != nil {
		return Image{}, err
	}
	return image, nil
}

// bare leaves of a descriptor what every reader knows.
func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// Publish gives the registry a builder of the local store, unless it has one.
func (b *Builders) Publish(ctx context.Context, id, arch string) (pushed bool, err error) {
	l := b.Local.layout(builderRepository)
	e, err := l.tagged(ctx, id)
	if err != nil {
		return false, fmt.Errorf("reading the builder to push: %w", err)
	}
	if err := checkBuilder(e, id, arch); err != nil {
		return false, fmt.Errorf("the stored builder %.12s %w", id, err)
	}
	var blobs []blob
	for _, part := range e.parts() {
		blobs = append(blobs, blob{part, func() (io.ReadCloser, error) { return os.Open(l.path(part.Digest)) }})
	}
	check := func(e entry) error { return checkBuilder(e, id, arch) }
	return b.Registry.publish(ctx, builderRepository, id+"-"+arch, e, check, blobs)
}

// checkBuilder makes sure that an entry is that of a builder; the error is
// *damage.
func checkBuilder(e entry, id, arch string) error {
	image, err := builderOf(e)
	if err == nil && (image.ID != id || image.Arch != arch) {
		err = &damage{fmt.Sprintf("is the builder %s of %s", image.ID, image.Arch)}
	}
	return err
}

func builderOf(e entry) (Image, error) {
	if e.MediaType != ocispec.MediaTypeImageManifest || e.Config.MediaType != ocispec.MediaTypeImageConfig || len(e.Layers) == 0 {
		return Image{}, &damage{fmt.Sprintf("is a foreign manifest of type %q with %d layers", e.MediaType, len(e.Layers))}
	}
	return Image{
		ID: e.Annotations[idAnnotation], Arch: e.Annotations[archAnnotation], Base: e.Annotations[baseAnnotation],
		Digest: e.descriptor().Digest.String(),
	}, nil
}

// tagged reads the manifest of a tag. The error is ErrNotFound or *damage where
// there is none that is whole.
func (l *layout) tagged(ctx context.Context, tag string) (entry, error) {
	index, err := l.index(ctx)
	if err != nil {
		return entry{}, err
	}
	descriptor, found := find(index, tag)
	if !found {
		return entry{}, fmt.Errorf("%s of %s: %w", tag, l.asset, ErrNotFound)
	}
	data, err := l.read(ctx, "manifest", descriptor, maxManifest)
	if err != nil {
		return entry{}, err
	}
	return parseEntry(data)
}

// write writes a builder of the local store as an OCI archive. A damaged one is
// removed from the store.
func (b *Builders) write(ctx context.Context, image Image, path string) error {
	l := b.Local.layout(builderRepository)
	e, err := l.tagged(ctx, image.ID)
	if err == nil {
		err = writeArchive(ctx, path, e, l)
	}
	var damaged *damagedPart
	var damage *damage
	switch {
	case errors.As(err, &damaged):
		b.Local.tell(fmt.Sprintf("the stored builder %.12s is discarded: %v", image.ID, damaged))
		return errors.Join(l.drop(ctx, image.ID, damaged.path), fmt.Errorf("builder %s: %w", image.ID, ErrNotFound))
	case errors.As(err, &damage):
		b.Local.tell(fmt.Sprintf("the stored builder %.12s is discarded: it %v", image.ID, damage))
		return errors.Join(l.drop(ctx, image.ID, ""), fmt.Errorf("builder %s: %w", image.ID, ErrNotFound))
	}
	return err
}

// drop removes a tag, and a blob that turned out to be damaged.
func (l *layout) drop(ctx context.Context, tag, damaged string) error {
	return l.locked(ctx, func() error {
		if damaged != "" {
			if err := os.Remove(damaged); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing a damaged blob of the store: %w", err)
			}
		}
		index, err := l.lockedIndex(ctx)
		if err != nil {
			return err
		}
		return l.writeIndex(set(index, tag, nil))
	})
}
