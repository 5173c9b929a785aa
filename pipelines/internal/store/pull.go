package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// partialFolder is in a layout: blobs that are not whole yet, by their digests.
// What a killed pull leaves there is resumed by the next of the same blob.
const partialFolder = "partial"

// abandoned is the age at which a partial blob is removed.
const abandoned = 24 * time.Hour

// Pull brings an artifact into a store, in place of an earlier one of the same
// key. Each blob that the store lacks goes through memory once. An artifact that
// turns out to be damaged is noted, forgotten and not offered again, and the
// error is an ErrNotFound, as for one that is not there.
func (r *Registry) Pull(ctx context.Context, ref Ref, into *Store) (Artifact, error) {
	if err := ref.validate(); err != nil {
		return Artifact{}, err
	}
	return r.pull(ctx, ref, ref.Tag(), into)
}

// pull is Pull by tag or by the manifest's digest.
func (r *Registry) pull(ctx context.Context, ref Ref, reference string, into *Store) (Artifact, error) {
	found, err := r.manifest(ctx, ref.Asset, reference)
	if err == nil {
		err = found.artifact.is(ref)
	}
	if err == nil {
		err = r.bring(ctx, ref, found, into.layout(ref.Asset))
		var failed *failure
		if errors.As(err, &failed) {
			r.condemn(ref)
		}
	}
	if IsNotFound(err) {
		return Artifact{}, r.miss(ref)
	}
	var damaged *damage
	if errors.As(err, &damaged) {
		r.condemn(ref)
		r.tell(fmt.Sprintf("the artifact %s of %s is discarded: %s %v", ref.Tag(), ref.Asset, r, damaged))
		return Artifact{}, fmt.Errorf("artifact %s of %s: %s %w: %w", ref.Tag(), ref.Asset, r, damaged, ErrNotFound)
	}
	if err != nil {
		return Artifact{}, r.hinted(err)
	}
	return into.Get(ctx, ref)
}

// bring brings what a manifest names into a layout, and then the manifest.
func (r *Registry) bring(ctx context.Context, ref Ref, f found, l *layout) (err error) {
	need := l.missing(f.blobs())
	defer func() { err = roomier(err, l.store.dir, need) }()
	if err := l.locked(ctx, func() error { _, err := l.prepare(ctx); return err }); err != nil {
		return err
	}
	for _, d := range f.blobs() {
		if err := r.receive(ctx, l, d); err != nil {
			return err
		}
	}
	return l.add(ctx, ref.Tag(), []blob{{f.descriptor(), inMemory(f.data)}})
}

// receive streams a blob into a layout, while other processes that want the same
// one wait. The error is as in stream, or *diskError: then the room that the
// blob took is free again.
func (r *Registry) receive(ctx context.Context, l *layout, d ocispec.Descriptor) (err error) {
	unlock, err := l.store.flock(ctx, l.blobLock(d.Digest.Encoded()), "waiting for another process that pulls "+l.asset)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if whole, err := l.holds(ctx, d); whole || err != nil {
		return err
	}
	progress, end := r.watch(l.asset, d)
	defer func() { end(err, "pulled") }()
	path := filepath.Join(l.root, partialFolder, d.Digest.Encoded())
	to, file, err := resume(ctx, path, d)
	if err != nil {
		return err
	}
	to.progress = progress
	if err = fits(filepath.Dir(path), d.Size-to.done); err == nil {
		err = r.stream(ctx, l.asset, d, to)
	}
	var disk *diskError
	var damaged *damage
	if err = errors.Join(err, file.Close()); err != nil {
		if errors.As(err, &disk) || errors.As(err, &damaged) {
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}
	return l.adopt(path, d)
}

// blobLock is the lock of those who write to a partial blob. Some blobs share
// one, so that the files, which stay behind, are few.
func (l *layout) blobLock(encoded string) string {
	return filepath.Join(filepath.Dir(l.lock), "blob-"+encoded[:min(2, len(encoded))])
}

// watch begins the progress of a tarball; other blobs have none.
func (r *Registry) watch(asset string, d ocispec.Descriptor) (progress func(done, total int64), end func(error, string)) {
	if r.options.Bytes == nil || d.MediaType != tarballType && d.MediaType != outputType {
		return nil, func(error, string) {}
	}
	return r.options.Bytes(asset)
}

// holds tells whether a blob is in the layout; a damaged one is removed.
func (l *layout) holds(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	if _, err := os.Stat(l.path(d.Digest)); err != nil {
		return false, ignoreMissing(err)
	}
	present, err := describe(ctx, l.path(d.Digest))
	if err != nil {
		return false, fmt.Errorf("checking a blob of the store: %w", err)
	}
	if present.Digest == d.Digest {
		return true, nil
	}
	if err := os.Remove(l.path(d.Digest)); err != nil {
		return false, fmt.Errorf("removing a damaged blob of the store: %w", err)
	}
	return false, nil
}

// resume opens a partial blob, takes in what is there already and returns the
// sink for the rest.
func resume(ctx context.Context, path string, d ocispec.Descriptor) (*sink, *os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("making a folder of the store: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("creating a blob of the store: %w", err)
	}
	to := &sink{to: toFile{file}, hash: sha256.New()}
	to.done, err = io.Copy(to.hash, &contextReader{ctx.Err, file})
	to.pieced = to.done > 0
	if err == nil && to.done > d.Size {
		err = to.restart()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("reading what there is of a blob: %w", err), file.Close())
	}
	return to, file, nil
}

// adopt makes a whole partial blob one of the layout's.
func (l *layout) adopt(path string, d ocispec.Descriptor) error {
	if err := os.Chmod(path, 0o444); err != nil {
		return fmt.Errorf("finishing a blob of the store: %w", err)
	}
	to := l.path(d.Digest)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("making a folder of the store: %w", err)
	}
	if err := os.Rename(path, to); err != nil {
		return fmt.Errorf("finishing a blob of the store: %w", err)
	}
	return nil
}

// Verify reads every blob of an artifact and hashes it. A miss is ErrNotFound;
// damage is another error, which says what is wrong.
func (r *Registry) Verify(ctx context.Context, ref Ref) error {
	if err := ref.validate(); err != nil {
		return err
	}
	found, err := r.manifest(ctx, ref.Asset, ref.Tag())
	if IsNotFound(err) {
		return r.miss(ref)
	}
	if err == nil {
		err = found.artifact.is(ref)
	}
	if err != nil {
		return r.verified(ref, err)
	}
	for _, d := range found.blobs() {
		progress, end := r.watch(ref.Asset, d)
		err := r.stream(ctx, ref.Asset, d, &sink{to: toNobody{}, hash: sha256.New(), progress: progress})
		end(err, "verified")
		if err != nil {
			return r.verified(ref, err)
		}
	}
	return nil
}

func (r *Registry) verified(ref Ref, err error) error {
	var damaged *damage
	if errors.As(err, &damaged) {
		return fmt.Errorf("artifact %s of %s: %s %w", ref.Tag(), ref.Asset, r, damaged)
	}
	return r.hinted(err)
}

// cleanPartial removes partial blobs that nobody has written to for long.
func (l *layout) cleanPartial() error {
	folder := filepath.Join(l.root, partialFolder)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && old(info) {
			err = l.removePartial(filepath.Join(folder, entry.Name()))
		}
		if err := ignoreMissing(err); err != nil {
			return err
		}
	}
	return nil
}

// removePartial removes an old partial blob, unless a process is about to resume
// it.
func (l *layout) removePartial(path string) error {
	lock := flock.New(l.blobLock(filepath.Base(path)))
	locked, err := lock.TryLock()
	if err == nil && locked {
		var info os.FileInfo
		if info, err = os.Stat(path); err == nil && old(info) {
			err = os.Remove(path)
		}
	}
	return errors.Join(err, lock.Close())
}
