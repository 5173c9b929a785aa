package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// The cache has a folder sha256 with files named by their hashes, and <hash>.partial for
// one that is being fetched; a folder h1 with the zips of Go modules that came from the
// registry, named by their sums; a folder git with a repository for each address; and a
// folder locks with a lock for each file.
func (f *Fetcher) final(hash string) string { return filepath.Join(f.Dir, "sha256", hash) }

// CacheName is the path, below the folder of the cache, of the file of a place.
func CacheName(place versions.Place) string {
	if place.Go == nil {
		return "sha256/" + place.SHA256
	}
	return "h1/" + strings.NewReplacer("h1:", "", "/", "_").Replace(place.Go.Sum) + ".zip"
}

// path is where the cache keeps the file of a place.
func (f *Fetcher) path(place versions.Place) string { return filepath.Join(f.Dir, CacheName(place)) }

// cached returns the file of a place that is in the cache. A damaged file is discarded.
func (t *task) cached(ctx context.Context, place versions.Place) (Fetched, error) {
	fetched, err := t.inspect(ctx, place)
	if err == nil {
		files.Touch(fetched.Path)
	}
	if !errors.As(err, new(*Mismatch)) {
		return fetched, err
	}
	unlock, err := t.lock(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	return t.cachedLocked(ctx, place)
}

// cachedLocked is cached for a caller that holds the lock of the place: another process
// may have replaced a damaged file in the meantime.
func (t *task) cachedLocked(ctx context.Context, place versions.Place) (Fetched, error) {
	fetched, err := t.inspect(ctx, place)
	var damaged *Mismatch
	if !errors.As(err, &damaged) {
		return fetched, err
	}
	t.note("discarding a damaged file of the cache: " + damaged.What + " has " + damaged.Got)
	if err := os.RemoveAll(t.path(place)); err != nil { // It may be a folder.
		return Fetched{}, fmt.Errorf("discarding a damaged file of the cache: %w", err)
	}
	return Fetched{}, errNotCached
}

// inspect hashes the cached file of a place. The error of a damaged one is a
// *Mismatch.
func (t *task) inspect(ctx context.Context, place versions.Place) (Fetched, error) {
	if !place.Cacheable() {
		return Fetched{}, errNotCached
	}
	path := t.path(place)
	if t.readsOnce && place.Go == nil {
		return t.unread(place, path)
	}
	hash, size, err := files.Hash(ctx, path)
	var irregular *files.IrregularError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fetched{}, errNotCached
	case errors.As(err, &irregular):
		return Fetched{}, t.wrong(path, "no content: it is "+irregular.Is, place.Hash())
	case err != nil:
		return Fetched{}, fmt.Errorf("reading the source cache: %w", err)
	case place.Go == nil && hash != place.SHA256:
		return Fetched{}, t.wrong(path, fmt.Sprintf("sha256 %s and %d bytes", hash, size), "sha256 "+place.SHA256)
	}
	if place.Go != nil {
		if sum, err := zipSum(path); err != nil {
			return Fetched{}, t.wrong(path, fmt.Sprintf("no Go module in it (%v)", err), place.Go.Sum)
		} else if sum != place.Go.Sum {
			return Fetched{}, t.wrong(path, "the sum "+sum, place.Go.Sum)
		}
	}
	return Fetched{Name: t.source.Name, Path: path, Place: place.Name, From: FromCache, SHA256: hash, Size: size}, nil
}

// unread is inspect without reading the file.
func (t *task) unread(place versions.Place, path string) (Fetched, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fetched{}, errNotCached
	case err != nil:
		return Fetched{}, fmt.Errorf("reading the source cache: %w", err)
	case !info.Mode().IsRegular():
		return Fetched{}, t.wrong(path, "no content: it is not a file", place.Hash())
	}
	return Fetched{Name: t.source.Name, Path: path, Place: place.Name, From: FromCache, SHA256: place.SHA256, Size: info.Size()}, nil
}

// pulled takes the file of a place from the registry. Any problem there is not the
// place's: the places are tried next.
func (t *task) pulled(ctx context.Context, place versions.Place) (Fetched, error) {
	if t.Registry == nil || !place.Cacheable() {
		return Fetched{}, errNotCached
	}
	return t.unlessCached(ctx, place, func() (Fetched, error) {
		err := t.Registry.PullSource(ctx, place.Hash(), t.path(place), t.stage)
		if store.IsNotFound(err) {
			return Fetched{}, errNotCached
		}
		if err != nil {
			return Fetched{}, fmt.Errorf("pulling from the registry: %w", err)
		}
		fetched, err := t.cachedLocked(ctx, place)
		fetched.From = FromRegistry
		return fetched, err
	})
}

// unlessCached fetches a file that the cache lacks, under the lock of the file.
func (t *task) unlessCached(ctx context.Context, place versions.Place, fetch func() (Fetched, error)) (Fetched, error) {
	unlock, err := t.lock(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	if fetched, err := t.cachedLocked(ctx, place); !isUnavailable(err) {
		return fetched, err
	}
	return fetch()
}

// local checks a file that is given instead of a place.
func (t *task) local(ctx context.Context, path string) (Fetched, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return t.clone(ctx, path)
	}
	hash, size, err := files.HashNamed(ctx, path)
	if err != nil {
		return Fetched{}, fmt.Errorf("reading the file given with --source %s: %w", t.source.Name, err)
	}
	var declared []string
	for _, place := range t.source.Places {
		if place.SHA256 == hash {
			return Fetched{Name: t.source.Name, Path: path, Place: LocalPlace, From: FromFile, SHA256: hash, Size: size}, nil
		}
		if place.SHA256 != "" {
			declared = append(declared, place.Name+" "+place.SHA256)
		}
	}
	if len(declared) == 0 {
		return Fetched{}, fmt.Errorf("source %q declares no sha256, so no file can replace it; leave out --source %s", t.source.Name, t.source.Name)
	}
	return Fetched{}, fmt.Errorf("%s has sha256 %s, which is none of those declared for source %q: %s; give one of these files",
		path, hash, t.source.Name, strings.Join(declared, ", "))
}

// clone takes the source out of a clone that is given instead of a place.
func (t *task) clone(ctx context.Context, path string) (Fetched, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return Fetched{}, err
	}
	for _, place := range t.source.Places {
		if place.Git == nil {
			continue
		}
		if !files.Exists(filepath.Join(path, ".git")) && !files.Exists(filepath.Join(path, "HEAD")) {
			return Fetched{}, fmt.Errorf("%s is a folder but not a git clone; give a clone that has the commit %s with --source %s", path, place.Git.Commit, t.source.Name)
		}
		fetched, err := t.git(ctx, place, absolute)
		if err != nil {
			return Fetched{}, fmt.Errorf("taking source %q out of the clone given with --source: %w", t.source.Name, err)
		}
		fetched.Place, fetched.From = LocalPlace, FromFile
		return fetched, nil
	}
	return Fetched{}, fmt.Errorf("%s is a folder, and source %q has no git place that a clone could replace; give a file", path, t.source.Name)
}

// lock takes the lock of a place's file, waiting for other processes until ctx
// ends, and makes the folder of the file.
func (t *task) lock(ctx context.Context, place versions.Place) (unlock func(), err error) {
	path := t.path(place)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the source cache: %w", err)
	}
	return files.Lock(ctx, filepath.Join(t.Dir, "locks", filepath.Base(path)), t.waiting())
}

func (t *task) waiting() files.Waiting {
	return files.Waiting{Report: t.Report, Subject: t.source.Name, Text: "waiting for another process that fetches it"}
}

// made puts a file into the cache that write makes, from the objects of git or the
// modules of go, instead of downloading it. It always has the same bytes, so it can be
// declared by its hash like any other.
func (t *task) made(ctx context.Context, place versions.Place, what string, write func(*os.File) error) (Fetched, error) {
	// The hash, and so the name, is known only at the end: an unfinished file of a killed
	// process is removed, not resumed.
	temp, err := files.Create(filepath.Join(t.Dir, "sha256", "made"), 0o644)
	if err != nil {
		return Fetched{}, fmt.Errorf("writing into the source cache: %w", err)
	}
	defer temp.Discard()
	if err := write(temp.File); err != nil {
		return Fetched{}, err
	}
	hash, size, err := files.Hash(ctx, temp.Name())
	if err != nil {
		return Fetched{}, fmt.Errorf("reading %s: %w", what, err)
	}
	switch {
	case place.SHA256 == "" && t.learning:
	case place.SHA256 == "":
		t.note(fmt.Sprintf("%s has sha256 %s: declare it so that caches can hold it", what, hash))
	case hash != place.SHA256:
		return Fetched{}, t.wrong(what, fmt.Sprintf("sha256 %s (%d bytes)", hash, size), "sha256 "+place.SHA256)
	}
	if err := os.Rename(temp.Name(), t.final(hash)); err != nil {
		return Fetched{}, fmt.Errorf("putting %s into the source cache: %w", t.source.Name, err)
	}
	return Fetched{Name: t.source.Name, Path: t.final(hash), Place: place.Name, From: FromPlace, SHA256: hash, Size: size}, nil
}
