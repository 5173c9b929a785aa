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

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Export writes one of an artifact's tarballs to path, which it replaces by
// rename: "" is the main one, another name a secondary output. A file there that
// has the right content already stays, and changed is false. A tarball
// that turns out to be damaged is reported and removed from the store, and the
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
	same, err := tarball.isAt(ctx, path)
	if err != nil || same {
		return false, err
	}
	blob, err := files.Open(s.layout(artifact.Asset).Path(digest.Digest(tarball.Digest)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, s.forget(ctx, artifact, tarball, nil, "is missing")
	}
	if err != nil {
		return false, fmt.Errorf("opening a tarball of the store: %w", err)
	}
	defer blob.Close()
	if err := s.admit(ctx, artifact, tarball, blob); err != nil {
		return false, err
	}
	if err := files.Sweep(path); err != nil {
		s.layout(artifact.Asset).Note(fmt.Sprintf("cannot remove what a killed export left: %v", err))
	}
	what, err := tarball.copyOut(ctx, blob, path, known)
	if err != nil {
		return false, err
	}
	if what != "" {
		return false, s.forget(ctx, artifact, tarball, blob, what)
	}
	return true, nil
}

// isAt tells whether the file at path is the tarball.
func (o Output) isAt(ctx context.Context, path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("examining the output: %w", err)
	}
	if info.IsDir() {
		return false, fmt.Errorf("the output %s is a folder: move it away", path)
	}
	if !info.Mode().IsRegular() || info.Size() != o.Size {
		return false, nil
	}
	sum, _, err := files.Hash(ctx, path)
	var irregular *files.IrregularError
	if errors.As(err, &irregular) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the output: %w", err)
	}
	return "sha256:"+sum == o.Digest, nil
}

// copyOut copies the blob to path. Where the blob is damaged it leaves path
// unchanged and says how. The copy is not synced: a later Export hashes it.
func (o Output) copyOut(ctx context.Context, blob *os.File, path string, known bool) (damaged string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("making the output folder: %w", err)
	}
	pending, err := files.Create(path, 0o644)
	if err != nil {
		return "", fmt.Errorf("creating the output: %w", err)
	}
	defer pending.Discard()
	// Nothing is between the two where it is known, so that the kernel can copy.
	to, hash := io.Writer(pending.File), sha256.New()
	if !known {
		to = io.MultiWriter(pending, hash)
	}
	size, err := files.Copy(ctx, to, blob)
	if err != nil {
		return "", fmt.Errorf("copying from the store: %w", err)
	}
	if size != o.Size {
		return fmt.Sprintf("has %d bytes, want %d", size, o.Size), nil
	}
	if sum := "sha256:" + hex.EncodeToString(hash.Sum(nil)); !known && sum != o.Digest {
		return fmt.Sprintf("hashes to %s, want %s", sum, o.Digest), nil
	}
	if err := pending.CommitUnsynced(); err != nil {
		return "", fmt.Errorf("finishing the output: %w", err)
	}
	return "", nil
}

// forget removes a damaged tarball and the entry that led to it, and returns
// the error for the caller. Blob is the file that was read: one that another
// process has put in its place since is not removed.
func (s *Store) forget(ctx context.Context, artifact Artifact, tarball Output, blob *os.File, what string) error {
	l := s.layout(artifact.Asset)
	l.Note(fmt.Sprintf("removing the stored %s of %s: it %s", tarball.what(), artifact.Ref, what))
	miss := fmt.Errorf("the %s of %s in the store %s: %w", tarball.what(), artifact.Asset, what, ErrNotFound)
	if blob == nil && files.Exists(l.Path(digest.Digest(tarball.Digest))) {
		return miss // Another process has put it there since.
	}
	return errors.Join(l.Drop(ctx, artifact.Tag(), digest.Digest(artifact.Manifest), blob), miss)
}

// Blob returns the path of one of an artifact's tarballs in the store, by its
// digest, for readers that stop using it before the run ends. A damaged tarball is
// as in Export.
func (s *Store) Blob(ctx context.Context, artifact Artifact, output string) (path string, err error) {
	if err := artifact.validate(); err != nil {
		return "", err
	}
	tarball, err := artifact.output(output)
	if err != nil {
		return "", err
	}
	path = s.layout(artifact.Asset).Path(digest.Digest(tarball.Digest))
	blob, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", s.forget(ctx, artifact, tarball, nil, "is missing")
	}
	if err != nil {
		return "", fmt.Errorf("opening a tarball of the store: %w", err)
	}
	defer blob.Close()
	sum, _, err := files.HashReader(ctx, blob)
	if err != nil {
		return "", fmt.Errorf("reading a tarball of the store: %w", err)
	}
	if "sha256:"+sum != tarball.Digest {
		return "", s.forget(ctx, artifact, tarball, blob, "hashes to sha256:"+sum+", want "+tarball.Digest)
	}
	return path, s.admit(ctx, artifact, tarball, blob)
}
