package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// made puts a file into the cache that is not downloaded but made here, by write,
// from the objects of git or the modules of go. It always has the same bytes, so
// that it can be declared by its hash like any other.
func (t *task) made(ctx context.Context, place versions.Place, what string, write func(path string) error) (fetched Fetched, err error) {
	folder := filepath.Join(t.Dir, "sha256")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Fetched{}, fmt.Errorf("making the source cache: %w", err)
	}
	temp, err := os.CreateTemp(folder, "made-*.partial")
	if err != nil {
		return Fetched{}, fmt.Errorf("writing into the source cache: %w", err)
	}
	defer func() {
		if removed := os.Remove(temp.Name()); !errors.Is(removed, os.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}()
	if err := temp.Close(); err != nil {
		return Fetched{}, err
	}
	if err := write(temp.Name()); err != nil {
		return Fetched{}, err
	}
	hash, size, err := files.Hash(ctx, temp.Name())
	if err != nil {
		return Fetched{}, fmt.Errorf("reading %s: %w", what, err)
	}
	switch {
	case place.SHA256 == "":
		t.note(fmt.Sprintf("%s has sha256 %s: declare it, and caches can hold it", what, hash))
	case hash != place.SHA256:
		return Fetched{}, t.wrong(what, fmt.Sprintf("sha256 %s (%d bytes)", hash, size), "sha256 "+place.SHA256)
	}
	if err := os.Chmod(temp.Name(), 0o644); err != nil {
		return Fetched{}, err
	}
	if err := os.Rename(temp.Name(), t.final(hash)); err != nil {
		return Fetched{}, fmt.Errorf("putting %s into the source cache: %w", t.source.Name, err)
	}
	return Fetched{Name: t.source.Name, Path: t.final(hash), Place: place.Name, From: FromPlace, SHA256: hash, Size: size}, nil
}
