package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// Put stores an artifact in place of an earlier one of the same key. What it
// replaces stays among the blobs until they are collected.
func (s *Store) Put(ctx context.Context, put Put) (Artifact, error) {
	if err := put.validate(); err != nil {
		return Artifact{}, err
	}
	recipe := content.NewDescriptorFromBytes(recipeType, put.Recipe)
	if recipe.Digest.Encoded() != put.Key {
		return Artifact{}, fmt.Errorf("the recipe of %s hashes to %s, not to its key %s", put.Asset, recipe.Digest.Encoded(), put.Key)
	}
	tarball, err := describe(ctx, put.Tarball)
	if err != nil {
		return Artifact{}, fmt.Errorf("reading the tarball to store: %w", err)
	}
	record := content.NewDescriptorFromBytes(recordType, put.Record)
	data, descriptor, err := manifest(put.Ref, recipe, tarball, record)
	if err != nil {
		return Artifact{}, err
	}
	// The manifest goes last: whoever sees it finds the rest.
	err = s.layout(put.Asset).add(ctx, put.Tag(), []blob{
		{tarball, func() (io.ReadCloser, error) { return os.Open(put.Tarball) }},
		{recipe, inMemory(put.Recipe)}, {record, inMemory(put.Record)}, {descriptor, inMemory(data)},
	})
	if err != nil {
		return Artifact{}, err
	}
	return Artifact{
		Ref: put.Ref, Digest: tarball.Digest.String(), Size: tarball.Size,
		Recipe: put.Recipe, Record: put.Record, Manifest: descriptor.Digest.String(),
	}, nil
}

// blob is content to store.
type blob struct {
	ocispec.Descriptor
	open func() (io.ReadCloser, error)
}

// add writes blobs and then puts the last of them into the index.
func (l *layout) add(ctx context.Context, tag string, blobs []blob) (err error) {
	unlock, err := l.store.flock(ctx, l.lock, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	index, err := l.prepare(ctx)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if err := l.push(ctx, b); err != nil {
			return err
		}
	}
	return l.writeIndex(set(index, tag, &blobs[len(blobs)-1].Descriptor))
}

func inMemory(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// prepare makes a layout of the folder, removes what writers that were killed
// left half-written, and returns the index. The caller holds the lock.
func (l *layout) prepare(ctx context.Context) (ocispec.Index, error) {
	if err := os.MkdirAll(l.root, 0o755); err != nil {
		return ocispec.Index{}, fmt.Errorf("making the store: %w", err)
	}
	marker := filepath.Join(l.root, ocispec.ImageLayoutFile)
	want, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("encoding %s: %w", ocispec.ImageLayoutFile, err)
	}
	if have, err := os.ReadFile(marker); err != nil || !bytes.Equal(have, want) {
		if err := replace(marker, want); err != nil {
			return ocispec.Index{}, fmt.Errorf("making the store: %w", err)
		}
	}
	if err := l.clean(); err != nil {
		return ocispec.Index{}, fmt.Errorf("cleaning the store: %w", err)
	}
	index, err := l.lockedIndex(ctx)
	if err != nil {
		return ocispec.Index{}, err
	}
	if _, err := os.Stat(l.indexPath()); errors.Is(err, fs.ErrNotExist) {
		return index, l.writeIndex(index)
	}
	return index, nil
}

// clean removes temporary files: those of replace, and those of oras-go.
func (l *layout) clean() error {
	entries, err := os.ReadDir(l.root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "ingest" || strings.Contains(entry.Name(), tempMark) {
			if err := os.RemoveAll(filepath.Join(l.root, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// push writes a blob, unless it is there and whole.
func (l *layout) push(ctx context.Context, b blob) error {
	d := b.Descriptor
	blobs, err := l.blobs()
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.path(d.Digest)); err == nil {
		present, err := describe(ctx, l.path(d.Digest))
		if err != nil {
			return fmt.Errorf("checking a blob of the store: %w", err)
		}
		if present.Digest == d.Digest {
			return nil
		}
		if err := os.Remove(l.path(d.Digest)); err != nil {
			return fmt.Errorf("removing a damaged blob of the store: %w", err)
		}
	}
	source, err := b.open()
	if err != nil {
		return fmt.Errorf("reading what to store: %w", err)
	}
	defer func() { _ = source.Close() }()
	if err := blobs.Push(ctx, d, &contextReader{ctx.Err, source}); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return fmt.Errorf("writing a blob of %d bytes to the store: %w", d.Size, err)
	}
	return nil
}

// describe hashes a tarball.
func describe(ctx context.Context, path string) (ocispec.Descriptor, error) {
	file, err := os.Open(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, &contextReader{ctx.Err, file})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: tarballType, Digest: digest.NewDigest(digest.SHA256, hash), Size: size}, nil
}

// contextReader ends with an error once its context has.
type contextReader struct {
	ended func() error
	from  io.Reader
}

// Read reads while the context lasts.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ended(); err != nil {
		return 0, err
	}
	return c.from.Read(p)
}
