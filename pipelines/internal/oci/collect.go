package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Held is a manifest in the index of a layout.
type Held struct {
	Tag string
	Manifest
	// Used is the time of its last use. InUse says that a process uses it now.
	Used  time.Time
	InUse bool
}

// Use records the use of a manifest; see files.Uses. It is false if the manifest is being
// collected.
func (l *Layout) Use(m Manifest) bool { return l.uses.Use(l.Path(m.Digest())) }

// Release ends the uses of this process.
func (l *Layout) Release() { l.uses.Release() }

// Held returns the manifests of the index. It skips those that are damaged.
func (l *Layout) Held(ctx context.Context) ([]Held, error) {
	index, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	return l.held(ctx, index)
}

func (l *Layout) held(ctx context.Context, index ocispec.Index) (all []Held, err error) {
	for _, d := range index.Manifests {
		m, err := l.manifest(ctx, d)
		if err != nil {
			if IsDamage(err) {
				continue
			}
			return nil, err
		}
		info, err := os.Lstat(l.Path(d.Digest))
		if err != nil {
			continue // It was removed in the meantime.
		}
		release, err := files.Claim(l.Path(d.Digest), info.ModTime())
		if err == nil {
			release()
		}
		all = append(all, Held{d.Annotations[ocispec.AnnotationRefName], m, info.ModTime(), errors.Is(err, files.ErrLocked)})
	}
	return all, nil
}

// Collect removes manifests from the index, except those that were used after their
// time, and everything that refers to them. Then it removes the blobs that no manifest
// names, unless they were written or found again after the time before. A reader finds an
// entry whole, or does not find it, at any moment; if Collect is killed, blobs that
// no manifest names remain for the next call. It returns how many bytes it freed, and the
// manifests that stayed because they are in use.
func (l *Layout) Collect(ctx context.Context, drop map[digest.Digest]time.Time, before time.Time) (freed int64, inUse []digest.Digest, err error) {
	began := time.Now()
	unlock, err := l.lock(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("collecting %s: %w", l.Root, err)
	}
	defer unlock()
	index, err := l.prepare(ctx)
	if err != nil {
		return 0, nil, err
	}
	dropped := map[digest.Digest]bool{}
	for d, used := range drop {
		release, err := files.Claim(l.Path(d), used)
		switch {
		case errors.Is(err, files.ErrLocked):
			inUse = append(inUse, d)
			continue
		case err == nil:
			defer release() // Readers treat it as missing from now on.
		case !errors.Is(err, fs.ErrNotExist):
			return 0, nil, err
		}
		dropped[d] = true
	}
	index, gone, err := l.without(ctx, index, dropped, before)
	if err != nil {
		return 0, nil, err
	}
	if len(gone) > 0 {
		if err := l.writeIndex(index); err != nil {
			return 0, nil, err
		}
	}
	freed, err = l.sweep(ctx, index, gone, began, before)
	return freed, inUse, err
}

// without returns the index without some manifests, their referrers, and old referrers of
// manifests that are not in the index; and the blobs that all of these name.
func (l *Layout) without(ctx context.Context, index ocispec.Index, dropped map[digest.Digest]bool, before time.Time) (ocispec.Index, map[digest.Digest]bool, error) {
	all, err := l.held(ctx, index)
	if err != nil {
		return index, nil, err
	}
	there := map[digest.Digest]bool{}
	for _, h := range all {
		there[h.Digest()] = true
	}
	gone := map[digest.Digest]bool{}
	for _, h := range all {
		orphan := h.Subject != nil && !there[h.Subject.Digest] && h.Used.Before(before)
		if !dropped[h.Digest()] && !orphan && (h.Subject == nil || !dropped[h.Subject.Digest]) {
			continue
		}
		index = set(index, h.Tag, nil)
		gone[h.Digest()] = true
		for _, part := range h.Parts() {
			gone[part.Digest] = true
		}
	}
	return index, gone, nil
}

// sweep removes the blobs that no manifest of the index names: those that were just
// dropped unless a writer has found them again since, others if they are old. The caller
// holds the lock, so that no entry is added.
func (l *Layout) sweep(ctx context.Context, index ocispec.Index, gone map[digest.Digest]bool, began, before time.Time) (freed int64, err error) {
	named := map[digest.Digest]bool{}
	for _, d := range index.Manifests {
		named[d.Digest] = true
		m, err := l.manifest(ctx, d)
		if err != nil && !IsDamage(err) {
			return 0, err
		}
		for _, part := range m.Parts() {
			named[part.Digest] = true
		}
	}
	folder := filepath.Join(l.Root, ocispec.ImageBlobsDir, digest.SHA256.String())
	entries, err := os.ReadDir(folder)
	if files.IgnoreMissing(err) != nil {
		return 0, fmt.Errorf("searching for blobs that nothing names: %w", err)
	}
	for _, entry := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, entry.Name())
		limit := before
		if gone[d] {
			limit = began
		}
		if named[d] || d.Validate() != nil {
			continue
		}
		size, err := l.discard(d, limit)
		if freed += size; err != nil {
			return freed, fmt.Errorf("removing a blob that nothing names: %w", err)
		}
	}
	return freed, nil
}

// discard removes a blob, unless a process that pulls it holds its lock or has found it
// after a time.
func (l *Layout) discard(d digest.Digest, limit time.Time) (freed int64, err error) {
	unlock, err := files.TryLock(l.blobLock(d.Encoded()))
	if errors.Is(err, files.ErrLocked) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer unlock()
	info, err := os.Lstat(l.Path(d))
	if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(limit) {
		return 0, files.IgnoreMissing(err)
	}
	return info.Size(), files.IgnoreMissing(os.Remove(l.Path(d)))
}
