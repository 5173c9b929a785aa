package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Export writes one of an artifact's tarballs to path, which it replaces by
// rename: "" is the main one, another name a secondary output. A file there that
// has the right content already is left alone, and changed is false. A tarball
// that turns out to be damaged is noted and removed from the store, and the
// error is an ErrNotFound: the artifact must be built again.
func (s *Store) Export(ctx context.Context, artifact Artifact, output, path string) (changed bool, err error) {
	return s.export(ctx, artifact, output, path, false)
}

// export is Export. A tarball that this process has hashed just now, as it wrote
// it into the store, is known to be right and only copied.
func (s *Store) export(ctx context.Context, artifact Artifact, output, path string, known bool) (changed bool, err error) {
	if err := artifact.validate(); err != nil {
		return false, err
	}
	tarball, err := artifact.output(output)
	if err != nil {
		return false, err
	}
	same, err := holds(ctx, path, tarball)
	if err != nil || same {
		return false, err
	}
	l := s.layout(artifact.Asset)
	blob, err := os.Open(l.path(digest.Digest(tarball.Digest)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, l.forget(ctx, artifact, tarball, nil, "is missing")
	}
	if err != nil {
		return false, fmt.Errorf("opening a tarball of the store: %w", err)
	}
	defer blob.Close()
	s.sweep(path)
	what, err := copyOut(ctx, blob, tarball, path, known)
	if err != nil {
		return false, err
	}
	if what != "" {
		return false, l.forget(ctx, artifact, tarball, blob, what)
	}
	return true, nil
}

// holds tells whether the file at path is the tarball.
func holds(ctx context.Context, path string, tarball Output) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking at the output: %w", err)
	}
	if info.IsDir() {
		return false, fmt.Errorf("the output %s is a folder: move it away", path)
	}
	if !info.Mode().IsRegular() || info.Size() != tarball.Size {
		return false, nil
	}
	present, err := describe(ctx, path)
	if err != nil {
		return false, fmt.Errorf("reading the output: %w", err)
	}
	return present.Digest.String() == tarball.Digest, nil
}

// copyOut copies the blob to path. Where the blob is damaged it leaves path
// alone and says how. The copy is not synced: a later Export hashes it.
func copyOut(ctx context.Context, blob *os.File, tarball Output, path string, known bool) (damaged string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("making the output folder: %w", err)
	}
	temp, err := temporary(path)
	if err != nil {
		return "", fmt.Errorf("creating the output: %w", err)
	}
	defer func() {
		if err != nil || damaged != "" {
			_ = temp.Close()
			os.Remove(temp.Name())
		}
	}()
	to, sum := io.Writer(temp), func() string { return tarball.Digest }
	if !known {
		hash := sha256.New()
		to, sum = io.MultiWriter(temp, hash), func() string { return "sha256:" + hex.EncodeToString(hash.Sum(nil)) }
	}
	size, err := copyParts(ctx, to, blob)
	if err != nil {
		return "", fmt.Errorf("copying from the store: %w", err)
	}
	if size != tarball.Size {
		return fmt.Sprintf("has %d bytes, want %d", size, tarball.Size), nil
	}
	if got := sum(); got != tarball.Digest {
		return fmt.Sprintf("hashes to %s, want %s", got, tarball.Digest), nil
	}
	if err := temp.Chmod(0o644); err != nil {
		return "", fmt.Errorf("finishing the output: %w", err)
	}
	// It is closed after it has its name: until then the lock keeps it from a sweep.
	if err := errors.Join(os.Rename(temp.Name(), path), temp.Close()); err != nil {
		return "", fmt.Errorf("finishing the output: %w", err)
	}
	return "", nil
}

// copied is how much is copied between two looks at the context.
const copied = 32 << 20

// copyParts copies a file while the context lasts. Nothing is between the two
// where both are files, so that the kernel can copy.
func copyParts(ctx context.Context, to io.Writer, from *os.File) (size int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, err := io.CopyN(to, from, copied)
		size += n
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// forget removes a damaged tarball and the entry that led to it, and returns
// the error for the caller. Blob is the file that was read: one that another
// process has put in its place since is not removed.
func (l *layout) forget(ctx context.Context, artifact Artifact, tarball Output, blob *os.File, what string) (err error) {
	l.store.tell(fmt.Sprintf("the stored %s of %s %s %s: removed", tarball.what(), artifact.Asset, artifact.Tag(), what))
	miss := fmt.Errorf("the %s of %s in the store %s: %w", tarball.what(), artifact.Asset, what, ErrNotFound)
	unlock, err := l.store.flock(ctx, l.lock, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	path := l.path(digest.Digest(tarball.Digest))
	now, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for a tarball of the store: %w", err)
	}
	if err == nil {
		if blob == nil {
			return miss
		}
		read, err := blob.Stat()
		if err != nil {
			return fmt.Errorf("looking for a tarball of the store: %w", err)
		}
		if !os.SameFile(read, now) {
			return miss
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing a damaged tarball of the store: %w", err)
		}
	}
	index, err := l.lockedIndex(ctx)
	if err != nil {
		return err
	}
	entry, found := find(index, artifact.Tag())
	if !found || entry.Digest.String() != artifact.Manifest {
		return miss
	}
	return errors.Join(miss, l.writeIndex(set(index, artifact.Tag(), nil)))
}
