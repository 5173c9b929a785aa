package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Blob returns the path of one of an artifact's tarballs in the store, by its digest,
// for readers that stop using it before the run ends. A damaged tarball is as in
// Export.
func (s *Store) Blob(ctx context.Context, artifact Artifact, output string) (path string, err error) {
	if err := artifact.validate(); err != nil {
		return "", err
	}
	tarball, err := artifact.output(output)
	if err != nil {
		return "", err
	}
	l := s.layout(artifact.Asset)
	path = l.path(digest.Digest(tarball.Digest))
	blob, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", l.forget(ctx, artifact, tarball, nil, "is missing")
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
		return "", l.forget(ctx, artifact, tarball, blob, "hashes to sha256:"+sum+", want "+tarball.Digest)
	}
	return path, nil
}

// Blob is that of the local store, which gets what only the registry has, as in Export.
func (t *Tiered) Blob(ctx context.Context, artifact Artifact, output string) (path string, err error) {
	if err := artifact.validate(); err != nil {
		return "", err
	}
	if _, err := t.bring(ctx, artifact); err != nil {
		return "", err
	}
	return t.Local.Blob(ctx, artifact, output)
}
