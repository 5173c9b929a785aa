package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// place is a folder of the cache whose files, or folders, are collected one by one.
type place struct{ kind, pattern string }

// places are the folders next to the store. Earlier versions of the program kept the
// components of payload images. The repositories of git stay, which many commits share, and
// so do the empty files of vetted/.
var places = []place{
	{"source", "sources/sha256/*"}, {"source", "sources/h1/*"}, {"base", "bases/*.tar"},
	{"test tool", "test-tools/*"}, {"components", "components/*"},
	{"work", "work/.build.tmp*"},
}

// justUsed is how long a file counts as in use after it was used.
const justUsed = time.Hour

// InFiles returns the things next to the store of a cache.
func InFiles(cache string, now time.Time) (things []Thing, err error) {
	for _, p := range places {
		paths, err := filepath.Glob(filepath.Join(cache, p.pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			size, used, err := measure(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("measuring %s: %w", path, err)
			}
			name, err := filepath.Rel(cache, path)
			if err != nil {
				return nil, err
			}
			// Nothing else has the same bytes.
			blob := ocispec.Descriptor{Digest: digest.FromString(name), Size: size}
			things = append(things, Thing{
				Kind: p.kind, Name: filepath.ToSlash(name), Size: size, Used: &used, path: path,
				inUse: now.Sub(used) < justUsed, blobs: []ocispec.Descriptor{blob},
			})
		}
	}
	return things, nil
}

// measure returns the size of a file or a folder, and its last modification.
func measure(path string) (size int64, used time.Time, err error) {
	err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(used) {
			used = info.ModTime()
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size, used, err
}

// Removed is the result of a collection.
type Removed struct {
	Freed int64 `json:"freed"`
	// InUse are the things that stayed because they were used after they were listed.
	InUse []Thing `json:"inUse"`
}

// Local removes the things of a local cache that go.
func Local(ctx context.Context, local *store.Local, things []Thing) (removed Removed, err error) {
	var items []store.Item
	for _, t := range things {
		switch {
		case t.Keep != "":
		case t.path == "":
			items = append(items, t.item)
		default:
			gone, err := t.remove()
			if err != nil {
				return removed, fmt.Errorf("removing %s: %w", t.path, err)
			}
			if gone {
				removed.Freed += t.Size
			} else {
				removed.InUse = append(removed.InUse, t)
			}
		}
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
	}
	freed, busy, err := local.Remove(ctx, items)
	removed.Freed += freed
	for _, t := range things {
		if t.path == "" && slices.ContainsFunc(busy, func(i store.Item) bool { return i.Name == t.Name && i.Manifest.Digest() == t.item.Manifest.Digest() }) {
			removed.InUse = append(removed.InUse, t)
		}
	}
	return removed, err
}

// remove removes a file or a folder, unless it was used meanwhile.
func (t Thing) remove() (gone bool, err error) {
	info, err := os.Lstat(t.path)
	if err != nil || !info.IsDir() {
		return files.RemoveUnused(t.path, *t.Used)
	}
	if t.Kind == "work" {
		return files.RemoveAbandoned(t.path)
	}
	if _, used, err := measure(t.path); err != nil || used.After(*t.Used) {
		return false, err
	}
	return true, os.RemoveAll(t.path)
}
