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
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	if _, found := put.Outputs[""]; found {
		return Artifact{}, fmt.Errorf("an output of %s has no name", put.Asset)
	}
	recipe := content.NewDescriptorFromBytes(recipeType, put.Recipe)
	if recipe.Digest.Encoded() != put.Key {
		return Artifact{}, fmt.Errorf("the recipe of %s hashes to %s, not to its key %s", put.Asset, recipe.Digest.Encoded(), put.Key)
	}
	named, tarballs, err := put.describe(ctx)
	if err != nil {
		return Artifact{}, err
	}
	named.recipe, named.record = recipe, content.NewDescriptorFromBytes(recordType, put.Record)
	data, descriptor, err := manifest(put.Ref, named)
	if err != nil {
		return Artifact{}, err
	}
	artifact, _, err := parse(data)
	if err != nil {
		return Artifact{}, fmt.Errorf("an artifact of %s that nothing could read: it %w", put.Asset, err)
	}
	// The manifest goes last: whoever sees it finds the rest.
	blobs := slices.Concat(tarballs, []blob{{recipe, inMemory(put.Recipe)}, {named.record, inMemory(put.Record)}, {descriptor, inMemory(data)}})
	if err := s.layout(put.Asset).add(ctx, put.Tag(), blobs); err != nil {
		return Artifact{}, err
	}
	artifact.Recipe, artifact.Record = put.Recipe, put.Record
	return artifact, nil
}

// describe hashes all tarballs to store.
func (p Put) describe(ctx context.Context) (named parts, tarballs []blob, err error) {
	for _, name := range append([]string{""}, slices.Sorted(maps.Keys(p.Outputs))...) {
		path := p.Tarball
		if name != "" {
			path = p.Outputs[name]
		}
		d, err := describe(ctx, path)
		if err != nil {
			return parts{}, nil, fmt.Errorf("reading the %s to store: %w", Output{Name: name}.what(), err)
		}
		if name == "" {
			named.tarball = d
		} else {
			named.outputs = append(named.outputs, namedPart{name, d})
		}
		tarballs = append(tarballs, blob{d, func() (io.ReadCloser, error) { return os.Open(path) }})
	}
	return named, tarballs, nil
}

// blob is content to store.
type blob struct {
	ocispec.Descriptor
	open func() (io.ReadCloser, error)
}

// add writes blobs and then puts the last of them into the index.
func (l *layout) add(ctx context.Context, tag string, blobs []blob) error {
	return l.locked(ctx, func() error {
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
	})
}

// locked does something while no other writes to the layout.
func (l *layout) locked(ctx context.Context, do func() error) (err error) {
	unlock, err := l.store.flock(ctx, l.lock, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return do()
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
	return l.cleanPartial()
}

// push writes a blob, unless it is there and whole.
func (l *layout) push(ctx context.Context, b blob) error {
	d := b.Descriptor
	blobs, err := l.blobs()
	if err != nil {
		return err
	}
	if whole, err := l.holds(ctx, d); whole || err != nil {
		return err
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
