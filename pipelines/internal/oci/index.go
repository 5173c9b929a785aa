package oci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// originAnnotation is on an entry of the index: see Manifest.Origin. An index that was
// rebuilt has none.
const originAnnotation = "io.katacontainers.origin"

// maxIndex is the largest size of an index, in bytes: a few hundred thousand entries.
const maxIndex = 64 << 20

// Index reads the index, and rebuilds it if it is damaged or missing. A layout that was
// never written to has an empty index. In a read-only layout, the rebuilt index lasts
// for this process only.
func (l *Layout) Index(ctx context.Context) (ocispec.Index, error) {
	index, why := l.readIndex()
	if why == nil || !l.lost(why) {
		return index, files.IgnoreMissing(why)
	}
	if recovered := l.recovered.Load(); recovered != nil {
		return *recovered, nil
	}
	unlock, err := l.lock(ctx)
	if err == nil {
		index, err = l.lockedIndex(ctx)
		unlock()
	}
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		l.Note(fmt.Sprintf("the store's %s was damaged (%v), and the store is read-only: rebuilt for this run", l.indexPath(), why))
		if index, err = l.recover(ctx); err == nil {
			l.recovered.Store(&index)
		}
	}
	return index, err
}

// lockedIndex is Index for a caller that holds the lock.
func (l *Layout) lockedIndex(ctx context.Context) (ocispec.Index, error) {
	index, err := l.readIndex()
	if err == nil || !l.lost(err) {
		return index, files.IgnoreMissing(err)
	}
	return l.rebuild(ctx, err)
}

// lost reports whether entries may be lost: the index is damaged, or it is missing
// although the layout has blobs.
func (l *Layout) lost(err error) bool {
	_, statErr := os.Stat(filepath.Join(l.Root, ocispec.ImageBlobsDir))
	return IsDamage(err) || errors.Is(err, fs.ErrNotExist) && statErr == nil
}

func (l *Layout) indexPath() string { return filepath.Join(l.Root, ocispec.ImageIndexFile) }

func (l *Layout) readIndex() (ocispec.Index, error) {
	if info, err := os.Lstat(l.indexPath()); err == nil && info.Size() > maxIndex {
		return ocispec.Index{}, Damaged("has %d bytes, more than %d", info.Size(), maxIndex)
	}
	data, err := files.Read(l.indexPath(), maxIndex)
	if errors.As(err, new(*files.IrregularError)) {
		return ocispec.Index{}, &Damage{err.Error()}
	}
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("reading the index of the store: %w", err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return ocispec.Index{}, &Damage{err.Error()}
	}
	if index.SchemaVersion != 2 {
		return ocispec.Index{}, Damaged("schemaVersion is %d, want 2", index.SchemaVersion)
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

// set returns the index with the entry of a tag replaced, or removed if the entry is nil.
// Entries are sorted by tag and digest.
func set(index ocispec.Index, tag string, entry *ocispec.Descriptor) ocispec.Index {
	entries := slices.DeleteFunc(slices.Clone(index.Manifests), func(d ocispec.Descriptor) bool {
		return d.Annotations[ocispec.AnnotationRefName] == tag
	})
	if entry != nil {
		tagged := *entry
		tagged.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
		if origin := entry.Annotations[originAnnotation]; origin != "" {
			tagged.Annotations[originAnnotation] = origin
		}
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
func (l *Layout) writeIndex(index ocispec.Index) error {
	index.Versioned = specs.Versioned{SchemaVersion: 2}
	index.MediaType = ocispec.MediaTypeImageIndex
	if index.Manifests == nil {
		index.Manifests = []ocispec.Descriptor{}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("encoding the index of the store: %w", err)
	}
	if err := files.Write(l.indexPath(), data, 0o644); err != nil {
		return fmt.Errorf("writing the index of the store: %w", err)
	}
	return nil
}

// rebuild writes a new index from the manifests among the blobs, and keeps a damaged
// index next to it. The caller holds the lock.
func (l *Layout) rebuild(ctx context.Context, why error) (ocispec.Index, error) {
	aside := l.indexPath() + ".damaged"
	if IsDamage(why) {
		// With a link, the index stays in place until it is replaced. A folder cannot be linked.
		err := os.RemoveAll(aside)
		if err == nil && os.Link(l.indexPath(), aside) != nil {
			err = os.Rename(l.indexPath(), aside)
		}
		if err != nil {
			return ocispec.Index{}, fmt.Errorf("keeping the damaged index: %w", err)
		}
		l.Note(fmt.Sprintf("the store's %s was damaged (%v): kept as %s and rebuilt", l.indexPath(), why, filepath.Base(aside)))
	}
	index, err := l.recover(ctx)
	if err != nil {
		return ocispec.Index{}, err
	}
	return index, l.writeIndex(index)
}

// recover returns an index of those manifests among the blobs whose parts are all in the
// layout. If two have the same tag, the later one wins.
func (l *Layout) recover(ctx context.Context) (index ocispec.Index, err error) {
	folder := filepath.Join(l.Root, ocispec.ImageBlobsDir, digest.SHA256.String())
	entries, err := os.ReadDir(folder)
	if files.IgnoreMissing(err) != nil {
		return index, fmt.Errorf("searching the store for manifests: %w", err)
	}
	var small []fs.FileInfo
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && info.Size() <= MaxManifest {
			small = append(small, info)
		}
	}
	slices.SortStableFunc(small, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range small {
		name := digest.NewDigestFromEncoded(digest.SHA256, info.Name())
		tag, d, err := l.candidate(ctx, ocispec.Descriptor{Digest: name, Size: info.Size()})
		if err == nil {
			index = set(index, tag, &d)
		} else if !IsDamage(err) {
			return index, err
		}
	}
	return index, nil
}

// candidate examines a blob that may be a manifest of this layout. The error is *Damage
// if it is not, or lacks a part.
func (l *Layout) candidate(ctx context.Context, d ocispec.Descriptor) (tag string, full ocispec.Descriptor, err error) {
	m, err := l.manifest(ctx, d)
	if err == nil {
		tag, err = l.Name(m)
	}
	for _, part := range m.Parts() {
		if err == nil {
			err = l.Check(ctx, part.MediaType, part)
		}
	}
	return tag, m.Descriptor(), err
}

// prepare initializes the layout's folder, removes the unfinished files of killed
// writers, and returns the index. The caller holds the lock.
func (l *Layout) prepare(ctx context.Context) (ocispec.Index, error) {
	if err := os.MkdirAll(l.Root, 0o755); err != nil {
		return ocispec.Index{}, fmt.Errorf("creating the store: %w", err)
	}
	marker := filepath.Join(l.Root, ocispec.ImageLayoutFile)
	if have, err := files.Read(marker, MaxManifest); err != nil || !bytes.Equal(have, layoutMarker) {
		if err := files.Write(marker, layoutMarker, 0o644); err != nil {
			return ocispec.Index{}, fmt.Errorf("creating the store: %w", err)
		}
	}
	if err := l.clean(); err != nil {
		return ocispec.Index{}, fmt.Errorf("cleaning the store: %w", err)
	}
	index, err := l.lockedIndex(ctx)
	if err != nil {
		return ocispec.Index{}, err
	}
	if !files.Exists(l.indexPath()) {
		return index, l.writeIndex(index)
	}
	return index, nil
}

var layoutMarker = []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)
