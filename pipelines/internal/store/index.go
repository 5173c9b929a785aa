package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/oci"
)

// layout is the OCI image layout of one asset. The blobs are oras-go's; its
// index is not, since that reads every manifest when it opens a layout and
// writes index.json in place.
type layout struct {
	store *Store
	asset string
	// root is the layout's folder, lock the file its writers lock.
	root, lock string
}

func (l *layout) blobs() (*oci.Storage, error) {
	storage, err := oci.NewStorage(l.root)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return storage, nil
}

// index reads the index, and rebuilds a damaged or missing one. A layout that
// was never written to has an empty one, and one that cannot be written to is
// rebuilt for this process alone.
func (l *layout) index(ctx context.Context) (ocispec.Index, error) {
	index, why := l.readIndex()
	if why == nil || !l.lost(why) {
		return index, ignoreMissing(why)
	}
	unlock, err := l.store.flock(ctx, l.lock, "")
	if err == nil {
		index, err = l.lockedIndex(ctx)
		err = errors.Join(err, unlock())
	}
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		return l.inMemory(ctx, why)
	}
	return index, err
}

// inMemory rebuilds the index of a layout that cannot be written to, once.
func (l *layout) inMemory(ctx context.Context, why error) (ocispec.Index, error) {
	l.store.mu.Lock()
	index, found := l.store.rebuilt[l.asset]
	l.store.mu.Unlock()
	if found {
		return index, nil
	}
	index, err := l.recover(ctx)
	if err != nil {
		return ocispec.Index{}, err
	}
	l.store.tell(fmt.Sprintf("the store's %s was damaged (%v), and the store is read-only: rebuilt for this run", l.indexPath(), why))
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.store.rebuilt[l.asset] = index
	return index, nil
}

// lockedIndex is index for those who hold the lock.
func (l *layout) lockedIndex(ctx context.Context) (ocispec.Index, error) {
	index, err := l.readIndex()
	if err == nil || !l.lost(err) {
		return index, ignoreMissing(err)
	}
	return l.rebuild(ctx, err)
}

// lost tells whether entries may be missing: the index is no index, or there is
// none though there are blobs.
func (l *layout) lost(err error) bool {
	var damaged *damage
	if errors.As(err, &damaged) {
		return true
	}
	_, statErr := os.Stat(filepath.Join(l.root, ocispec.ImageBlobsDir))
	return errors.Is(err, fs.ErrNotExist) && statErr == nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (l *layout) indexPath() string { return filepath.Join(l.root, ocispec.ImageIndexFile) }

func (l *layout) readIndex() (ocispec.Index, error) {
	data, err := os.ReadFile(l.indexPath())
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("reading the index of the store: %w", err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return ocispec.Index{}, &damage{err.Error()}
	}
	if index.SchemaVersion != 2 {
		return ocispec.Index{}, &damage{fmt.Sprintf("schemaVersion is %d, want 2", index.SchemaVersion)}
	}
	return index, nil
}

// find returns the entry of a tag.
func find(index ocispec.Index, tag string) (ocispec.Descriptor, bool) {
	for _, d := range index.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] == tag {
			return d, true
		}
	}
	return ocispec.Descriptor{}, false
}

// set returns the index with an entry for a tag, in place of an earlier one, or
// without any where the entry is nil. Entries are sorted by tag and digest.
func set(index ocispec.Index, tag string, entry *ocispec.Descriptor) ocispec.Index {
	entries := slices.DeleteFunc(slices.Clone(index.Manifests), func(d ocispec.Descriptor) bool {
		return d.Annotations[ocispec.AnnotationRefName] == tag
	})
	if entry != nil {
		tagged := *entry
		tagged.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
		entries = append(entries, tagged)
	}
	slices.SortStableFunc(entries, func(a, b ocispec.Descriptor) int {
		return cmp.Or(
			strings.Compare(a.Annotations[ocispec.AnnotationRefName], b.Annotations[ocispec.AnnotationRefName]),
			strings.Compare(a.Digest.String(), b.Digest.String()))
	})
	index.Manifests = entries
	return index
}

// writeIndex replaces the index; the caller holds the lock.
func (l *layout) writeIndex(index ocispec.Index) error {
	index.Versioned = specs.Versioned{SchemaVersion: 2}
	index.MediaType = ocispec.MediaTypeImageIndex
	if index.Manifests == nil {
		index.Manifests = []ocispec.Descriptor{}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("encoding the index of the store: %w", err)
	}
	if err := replace(l.indexPath(), data); err != nil {
		return fmt.Errorf("writing the index of the store: %w", err)
	}
	return nil
}

// rebuild writes the index anew from the manifests among the blobs, and keeps
// what was there before beside it. The caller holds the lock.
func (l *layout) rebuild(ctx context.Context, why error) (ocispec.Index, error) {
	aside := l.indexPath() + ".damaged"
	var damaged *damage
	if errors.As(why, &damaged) {
		// A second name, so that there is an index at every moment.
		if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ocispec.Index{}, fmt.Errorf("moving the damaged index aside: %w", err)
		}
		if err := os.Link(l.indexPath(), aside); err != nil {
			return ocispec.Index{}, fmt.Errorf("moving the damaged index aside: %w", err)
		}
		l.store.tell(fmt.Sprintf("the store's %s was damaged (%v): kept as %s and rebuilt", l.indexPath(), why, filepath.Base(aside)))
	}
	index, err := l.recover(ctx)
	if err != nil {
		return ocispec.Index{}, err
	}
	return index, l.writeIndex(index)
}

// recover makes an index of the manifests among the blobs.
func (l *layout) recover(ctx context.Context) (index ocispec.Index, err error) {
	found, err := l.manifests(ctx)
	for _, f := range found {
		index = set(index, f.tag, &f.descriptor)
	}
	return index, err
}

// candidate is a blob that turned out to be the manifest of a whole artifact, or
// of a builder.
type candidate struct {
	tag        string
	descriptor ocispec.Descriptor
	written    int64
}

// manifests finds the whole artifacts or builders of the layout, the oldest first.
func (l *layout) manifests(ctx context.Context) ([]candidate, error) {
	folder := filepath.Join(l.root, ocispec.ImageBlobsDir, digest.SHA256.String())
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for manifests in the store: %w", err)
	}
	var found []candidate
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := entry.Info()
		name := digest.NewDigestFromEncoded(digest.SHA256, entry.Name())
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxManifest || name.Validate() != nil {
			continue
		}
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: name, Size: info.Size()}
		tag, err := l.tagOf(ctx, &d)
		if IsDamage(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, candidate{tag, d, info.ModTime().UnixNano()})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.written, b.written) })
	return found, nil
}

// tagOf returns the tag of a manifest whose parts are all there, and completes
// its descriptor. The error is *damage where the blob is none of this layout.
func (l *layout) tagOf(ctx context.Context, d *ocispec.Descriptor) (string, error) {
	if l.asset == builderRepository {
		return l.builderTag(ctx, *d)
	}
	if tag, err := l.proofTag(ctx, d); err == nil || !IsDamage(err) {
		return tag, err
	}
	d.ArtifactType = artifactType
	artifact, err := l.load(ctx, *d)
	if err == nil && (artifact.Asset != l.asset || artifact.validate() != nil) {
		err = &damage{"is of another asset"}
	}
	return artifact.Tag(), err
}

// proofTag is tagOf for a proof.
func (l *layout) proofTag(ctx context.Context, d *ocispec.Descriptor) (string, error) {
	data, err := l.read(ctx, "manifest", *d, maxManifest)
	if err != nil {
		return "", err
	}
	e, err := parseProof(data, "")
	if err != nil {
		return "", err
	}
	d.ArtifactType = proofType
	return tagOfProof(e.Subject.Digest, d.Digest), l.present(Output{Name: "proof", Digest: e.Layers[0].Digest.String(), Size: e.Layers[0].Size})
}

// builderTag is tagOf for a builder.
func (l *layout) builderTag(ctx context.Context, d ocispec.Descriptor) (string, error) {
	data, err := l.read(ctx, "manifest", d, maxManifest)
	if err != nil {
		return "", err
	}
	e, err := parseEntry(data)
	if err != nil {
		return "", err
	}
	image, err := builderOf(e)
	if err == nil && !validKey.MatchString(image.ID) {
		err = &damage{"has no builder's ID"}
	}
	for _, part := range e.parts() {
		if err == nil {
			err = l.present(Output{Name: part.MediaType, Digest: part.Digest.String(), Size: part.Size})
		}
	}
	return image.ID, err
}

// tempMark is in the names of temporary files.
const tempMark = ".tmp-"

// replace writes a small file by way of a temporary one, synced.
func replace(path string, data []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempMark+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			os.Remove(temp.Name())
		}
	}()
	if _, err := temp.Write(data); err != nil {
		return err
	}
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

func isShort(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
