package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Add writes blobs, then their manifest, then its entry under a tag. In this order, a
// reader of the entry finds everything that it names.
func (l *Layout) Add(ctx context.Context, tag string, m Manifest, blobs []Blob) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := l.prepare(ctx)
	if err != nil {
		return err
	}
	d := m.Descriptor()
	for _, b := range append(blobs, Blob{d, Bytes(m.Data)}) {
		if err := l.put(ctx, b); err != nil {
			return err
		}
	}
	if m.Origin != "" {
		d.Annotations = map[string]string{originAnnotation: m.Origin}
	}
	return l.writeIndex(set(index, tag, &d))
}

// put writes a blob, unless the layout has it and it is whole. It replaces a damaged
// blob by rename: if another process writes the blob at the same time, either result
// is right.
func (l *Layout) put(ctx context.Context, b Blob) error {
	if whole, err := l.found(ctx, b.Descriptor); whole || err != nil {
		return err
	}
	from, err := b.Open(0)
	if err != nil {
		return fmt.Errorf("opening a blob to store: %w", err)
	}
	defer func() { _ = from.Close() }()
	path := l.Path(b.Digest)
	pending, err := files.CreateIn(filepath.Join(l.Root, ingestFolder), path, 0o444)
	if err != nil {
		return fmt.Errorf("creating a blob of the store: %w", err)
	}
	defer pending.Discard()
	verified := content.NewVerifyReader(from, b.Descriptor)
	_, err = files.Copy(ctx, pending, verified)
	if err == nil {
		err = verified.Verify()
	}
	if err != nil {
		return fmt.Errorf("writing the blob %s of %d bytes to the store: %w", b.Digest, b.Size, err)
	}
	if err := pending.CommitUnsynced(); err != nil {
		return fmt.Errorf("finishing a blob of the store: %w", err)
	}
	return nil
}

// Holds reports whether the layout has a blob that is whole.
func (l *Layout) Holds(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	info, err := os.Lstat(l.Path(d.Digest))
	if err != nil || !info.Mode().IsRegular() || info.Size() != d.Size {
		return false, files.IgnoreMissing(err)
	}
	sum, _, err := files.Hash(ctx, l.Path(d.Digest))
	return err == nil && sum == d.Digest.Encoded(), err
}

// found is Holds for a writer whose manifest will name the blob: Collect then keeps it.
func (l *Layout) found(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	whole, err := l.Holds(ctx, d)
	if whole {
		now := time.Now()
		_ = os.Chtimes(l.Path(d.Digest), now, now) // The writer could not add an entry either.
	}
	return whole, err
}

// Describe hashes a file and returns its descriptor.
func Describe(ctx context.Context, mediaType, path string) (ocispec.Descriptor, error) {
	sum, size, err := files.Hash(ctx, path)
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigestFromEncoded(digest.SHA256, sum), Size: size}, err
}

// Receive downloads those blobs of a manifest that the layout lacks. Subject names them
// in the report. The caller then adds the manifest with Add.
func (l *Layout) Receive(ctx context.Context, from *Repository, m Manifest, subject string) (err error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	_, err = l.prepare(ctx)
	unlock()
	if err != nil {
		return err
	}
	for _, part := range SmallFirst(m.Parts()) {
		if err := l.receive(ctx, from, part, subject); err != nil {
			return err
		}
	}
	return nil
}

// SmallFirst moves the first layer, which follows the config, to the end of a
// manifest's parts: small blobs come first, so that a failure comes early.
func SmallFirst[T any](parts []T) []T {
	if len(parts) < 3 {
		return parts
	}
	config, layer, rest := parts[0], parts[1], parts[2:]
	return append(append([]T{config}, rest...), layer)
}

func (l *Layout) receive(ctx context.Context, from *Repository, d ocispec.Descriptor, subject string) error {
	unlock, err := l.lockBlob(ctx, d.Digest)
	if err != nil {
		return err
	}
	defer unlock()
	if whole, err := l.found(ctx, d); whole || err != nil {
		return err
	}
	stage := from.client.stage(subject, "pull", d)
	err = from.Download(ctx, d, l.Path(d.Digest), l.partial(d.Digest), stage)
	stage.End(err, "pulled")
	return err
}

// Examine downloads a blob, even one that the layout has, calls do with the path of the
// file, and removes the file.
func (l *Layout) Examine(ctx context.Context, from *Repository, d ocispec.Descriptor, subject string, do func(path string) error) error {
	unlock, err := l.lockBlob(ctx, d.Digest)
	if err != nil {
		return err
	}
	defer unlock()
	path := l.partial(d.Digest) + ".examined"
	stage := from.client.stage(subject, "verify", d)
	err = from.Download(ctx, d, path, l.partial(d.Digest), stage)
	if err == nil {
		err = errors.Join(do(path), os.Remove(path))
	}
	stage.End(err, "verified")
	return err
}

// Drop removes an entry, and a damaged blob that it names; the blob may be the zero
// value. If another process has replaced the blob or the entry meanwhile, Drop keeps
// the replacement. Writers of a blob hold one of the two locks.
func (l *Layout) Drop(ctx context.Context, tag string, manifest digest.Digest, blob ocispec.Descriptor) error {
	if blob.Digest != "" {
		unlock, err := l.lockBlob(ctx, blob.Digest)
		if err != nil {
			return err
		}
		defer unlock()
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if blob.Digest != "" {
		if whole, err := l.Holds(ctx, blob); whole || err != nil {
			return err
		}
		if err := os.Remove(l.Path(blob.Digest)); files.IgnoreMissing(err) != nil {
			return fmt.Errorf("removing a damaged blob: %w", err)
		}
	}
	index, err := l.lockedIndex(ctx)
	if err != nil {
		return err
	}
	if d, found := find(index, tag); !found || d.Digest != manifest {
		return nil
	}
	return l.writeIndex(set(index, tag, nil))
}

// clean removes the leftovers of killed writers. The caller holds the lock.
func (l *Layout) clean() error {
	if err := os.RemoveAll(filepath.Join(l.Root, ingestFolder)); err != nil {
		return err
	}
	if err := files.Sweep(l.indexPath()); err != nil {
		return err
	}
	folder := filepath.Join(l.Root, partialFolder)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return files.IgnoreMissing(err)
	}
	for _, entry := range entries {
		if err := l.cleanPartial(filepath.Join(folder, entry.Name())); files.IgnoreMissing(err) != nil {
			return err
		}
	}
	return nil
}

// cleanPartial removes an abandoned partial blob, unless a process is about to resume it.
func (l *Layout) cleanPartial(path string) error {
	unlock, err := files.TryLock(l.blobLock(filepath.Base(path)))
	if errors.Is(err, files.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	if info, err := os.Lstat(path); err != nil || time.Since(info.ModTime()) <= abandoned {
		return err
	}
	return os.Remove(path)
}
