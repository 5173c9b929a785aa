package supply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Pushed is a source or a builder that the registry has now.
type Pushed struct {
	// Source is the path of the source, or "builder:<id>".
	Source string `json:"source"`
	// Place is the place that declares the file in the registry.
	Place string `json:"place,omitempty"`
	State State  `json:"state"`
}

// State is the outcome of pushing an input.
type State string

// The states of a Pushed.
const (
	PushedNow State = "pushed"
	There     State = "there"
	// NoHash is for a file that no declared hash identifies, so no cache can hold it.
	NoHash State = "no sha256"
)

// Push pushes the sources that the registry lacks, after fetching them where
// needed, and the builders in the local cache; the error lists the others.
func (s *Set) Push(ctx context.Context) ([]Pushed, error) {
	list, err := each(ctx, s.Sources, func(d workspace.Declared) (Pushed, error) { return s.push(ctx, d) })
	if ctx.Err() != nil {
		return nil, err
	}
	builders, without, builderErr := s.PushBuilders(ctx)
	for _, asset := range without {
		s.Report.Note(asset, "its builder was not made yet: build it once with --push")
	}
	return append(list, builders...), errors.Join(err, builderErr)
}

// push makes sure that the registry has one of the equivalent files of a source.
func (s *Set) push(ctx context.Context, d workspace.Declared) (Pushed, error) {
	if !slices.ContainsFunc(d.Places, versions.Place.Cacheable) {
		return Pushed{Source: d.Path, State: NoHash}, nil
	}
	for _, place := range d.Places {
		if _, err := s.inRegistry(ctx, place); err == nil {
			return Pushed{d.Path, place.Name, There}, nil
		} else if !store.IsNotFound(err) {
			return Pushed{}, err
		}
	}
	fetched, err := s.fetch(ctx, d)
	if err != nil {
		return Pushed{}, err
	}
	i := slices.IndexFunc(d.Places, func(p versions.Place) bool {
		return p.Name == fetched.Place || fetched.From == source.FromFile && p.SHA256 == fetched.SHA256
	})
	// The file may be from a clone, or from the only place that answered, without a hash.
	if i < 0 || !d.Places[i].Cacheable() {
		return Pushed{Source: d.Path, Place: fetched.Place, State: NoHash}, nil
	}
	place := d.Places[i]
	pushed, err := s.Store.Registry.PushSource(ctx, place.Hash(), title(place), fetched.Path)
	if err != nil {
		return Pushed{}, fmt.Errorf("pushing source %q: %w", d.Path, err)
	}
	return Pushed{d.Path, place.Name, state(pushed)}, nil
}

func state(pushed bool) State {
	if pushed {
		return PushedNow
	}
	return There
}

// title is the file name that other OCI clients show.
func title(place versions.Place) string {
	switch {
	case place.Debian != nil:
		return place.Debian.File
	case place.Git != nil:
		return path.Base(place.Git.URL) + "-" + place.Git.Commit + ".tar"
	case place.OCI != nil:
		return cmp.Or(place.OCI.Title, path.Base(place.OCI.Repository()))
	case place.Go != nil:
		return path.Base(place.Go.Module) + "-" + place.Go.Version + ".zip"
	case place.GoProxy != nil:
		return strings.ReplaceAll(path.Base(place.GoProxy.String()), "@", "-") + ".tar"
	case place.Cargo != nil:
		return strings.ReplaceAll(path.Base(place.Cargo.String()), "@", "-") + ".tar"
	}
	return filepath.Base(place.URL)
}

// PushBuilders pushes the builders that are in the local cache: those for this machine's
// architecture, and for that of the assets. Without are the assets whose builder no cache
// has. The error lists the builders that could not be pushed.
func (s *Set) PushBuilders(ctx context.Context) (list []Pushed, without []string, err error) {
	var failed []error
	seen := map[string]bool{}
	for _, r := range s.Recipes {
		made := false
		for _, machine := range slices.Compact([]string{string(catalog.HostArch()), r.Arch}) {
			builder, err := r.On(machine)
			if err != nil {
				continue // No build can have made it.
			}
			id, err := builder.ID(machine)
			if err != nil {
				return list, without, err
			}
			if made = made || seen[id]; seen[id] {
				continue
			}
			state, err := s.pushBuilder(ctx, id, machine)
			if ctx.Err() != nil {
				return list, without, context.Cause(ctx)
			}
			if store.IsNotFound(err) {
				continue
			}
			made, seen[id] = true, true
			if err != nil {
				failed = append(failed, fmt.Errorf("pushing the builder of %q: %w", r.Asset, err))
				continue
			}
			list = append(list, Pushed{Source: "builder:" + id[:12], State: state})
		}
		if !made {
			without = append(without, r.Asset)
		}
	}
	return list, without, errors.Join(failed...)
}

// pushBuilder makes sure that the registry has a builder. The error is store.ErrNotFound
// for one that has not been built yet.
func (s *Set) pushBuilder(ctx context.Context, id, machine string) (State, error) {
	builders := &store.Builders{Local: s.Store.Local, Registry: s.Store.Registry}
	_, where, err := builders.Find(ctx, id, machine)
	if err != nil || where == store.InRegistry {
		return There, err
	}
	pushed, err := builders.Publish(ctx, id, machine)
	return state(pushed), err
}
