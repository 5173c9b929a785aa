package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// State is what the local caches hold for one place.
type State struct {
	// Cached says that the file is there, Size its length in bytes.
	Cached bool
	Size   int64
	// Damage says how the file is damaged, "" if it is not.
	Damage string
}

// Has reports whether the local caches have the file of a place, without reading it.
func (f *Fetcher) Has(ctx context.Context, place versions.Place) (State, error) {
	if f.hasCommit(ctx, place) {
		return State{Cached: true}, nil
	}
	if place.Cacheable() {
		info, err := os.Lstat(f.path(place))
		if err == nil && info.Mode().IsRegular() {
			return State{Cached: true, Size: info.Size()}, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return State{}, fmt.Errorf("looking into the source cache: %w", err)
		}
	}
	return state((&task{Fetcher: f}).moduleOffline(ctx, place))
}

// Check is Has, but hashes the file. It changes nothing.
func (f *Fetcher) Check(ctx context.Context, place versions.Place) (State, error) {
	t := &task{Fetcher: f}
	fetched, err := t.inspect(ctx, place)
	if isUnavailable(err) {
		fetched, err = t.moduleOffline(ctx, place)
	}
	return state(fetched, err)
}

// state translates the result of a lookup in the local caches.
func state(fetched Fetched, err error) (State, error) {
	var other *Mismatch
	switch {
	case errors.As(err, &other):
		return State{Cached: true, Damage: other.What + " has " + other.Got}, nil
	case isUnavailable(err):
		return State{}, nil
	case err != nil:
		return State{}, err
	}
	return State{Cached: true, Size: fetched.Size}, nil
}
