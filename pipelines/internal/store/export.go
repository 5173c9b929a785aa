package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Export writes one of an artifact's tarballs to path, which it replaces by
// rename: "" is the main one, another name a secondary output. A file there that
// has the right content already stays, and changed is false. A tarball that turns
// out to be damaged is reported and removed from the store, and the error is an
// ErrNotFound: the artifact must be built again.
func (s *Store) Export(ctx context.Context, artifact Artifact, output, path string) (changed bool, err error) {
	return (&Tiered{Local: s}).Export(ctx, artifact, output, path)
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

// copyOut copies a checked blob to path. The copy is not synced: a later Export
// hashes it.
func copyOut(ctx context.Context, blob, path string) error {
	from, err := files.Open(blob)
	if err != nil {
		return fmt.Errorf("opening a tarball of the store: %w", err)
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the output folder: %w", err)
	}
	pending, err := files.Create(path, 0o644)
	if err != nil {
		return fmt.Errorf("creating the output: %w", err)
	}
	defer pending.Discard()
	// Both are files, so that the kernel can copy.
	if _, err := files.Copy(ctx, pending.File, from); err != nil {
		return fmt.Errorf("copying from the store: %w", err)
	}
	if err := pending.CommitUnsynced(); err != nil {
		return fmt.Errorf("finishing the output: %w", err)
	}
	return nil
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
	sum, size, err := files.Hash(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", s.forget(ctx, artifact, tarball, "is missing")
	case err != nil:
		return "", fmt.Errorf("reading a tarball of the store: %w", err)
	case size != tarball.Size:
		return "", s.forget(ctx, artifact, tarball, fmt.Sprintf("has %d bytes, want %d", size, tarball.Size))
	case "sha256:"+sum != tarball.Digest:
		return "", s.forget(ctx, artifact, tarball, "hashes to sha256:"+sum+", want "+tarball.Digest)
	}
	return path, s.admit(ctx, artifact, tarball, path)
}

// forget removes a damaged tarball and the entry that led to it, and returns the
// error for the caller.
func (s *Store) forget(ctx context.Context, artifact Artifact, tarball Output, what string) error {
	l := s.layout(artifact.Asset)
	l.Note(fmt.Sprintf("removing the stored %s of %s: it %s", tarball.what(), artifact.Ref, what))
	miss := fmt.Errorf("the %s of %s in the store %s: %w", tarball.what(), artifact.Asset, what, ErrNotFound)
	d := ocispec.Descriptor{Digest: digest.Digest(tarball.Digest), Size: tarball.Size}
	return errors.Join(l.Drop(ctx, artifact.Tag(), digest.Digest(artifact.Manifest), d), miss)
}
