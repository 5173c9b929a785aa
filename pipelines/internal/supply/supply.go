// Package supply lists, fetches, checks and pushes the inputs of builds that come from
// elsewhere: sources and builders. They move from their places into the local cache, and
// from there into the registry.
//
// The one idea: the inputs of a set of assets are one list whose entries are independent,
// so the failure of one does not keep the others from being fetched or pushed. Package
// source fetches an input, and package store keeps it.
package supply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Set is what some assets are built from.
type Set struct {
	Fetcher *source.Fetcher
	Store   *store.Tiered
	Report  *progress.Reporter
	// Sources are sorted by path, each once.
	Sources []workspace.Declared
	// Recipes are those of the assets that are built.
	Recipes []recipe.Recipe
	// Unused are the sources of the lock that no asset of any architecture uses, if all
	// assets were selected.
	Unused []workspace.Declared
}

// New returns what the selected assets and their dependencies are built from. Given are
// files and clones by the names of sources, which replace their places.
func New(w *workspace.Workspace, selection workspace.Selection, given map[string]string) (*Set, error) {
	names, arch, err := w.Select(selection)
	if err != nil {
		return nil, err
	}
	if err := w.CheckSources(names, arch, given, ""); err != nil {
		return nil, err
	}
	w.Sources.Local = given
	set := &Set{Fetcher: w.Sources, Store: w.Store, Report: w.Report}
	if set.Sources, err = w.Declared(names, arch); err != nil {
		return nil, err
	}
	for name := range given {
		if !slices.ContainsFunc(set.Sources, func(d workspace.Declared) bool { return d.Name == name }) {
			return nil, workspace.Usage(fmt.Errorf("--source %s: that is an asset: name its source, as `pipelines source list %s` prints it", name, name))
		}
	}
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return nil, err
	}
	for _, asset := range closure {
		plan, err := w.Resolve(asset, arch)
		if err != nil {
			return nil, err
		}
		if !plan.Recipe.Imported() { // Only built ones have a builder.
			set.Recipes = append(set.Recipes, plan.Recipe)
		}
	}
	if selection.All {
		set.Unused, err = unused(w)
	}
	return set, err
}

func unused(w *workspace.Workspace) (list []workspace.Declared, err error) {
	used := map[string]bool{}
	for _, arch := range catalog.Arches() {
		declared, err := w.Declared(w.Catalog.On(arch), arch)
		if err != nil {
			return nil, err
		}
		for _, d := range declared {
			used[d.Path] = true
		}
	}
	for _, path := range w.Resolver.Versions.Sources() {
		// One of a version that the lock does not have is of no concern as long as no asset
		// uses it.
		if source, err := w.Resolver.Versions.Source(path); err == nil && !used[path] {
			list = append(list, workspace.Declared{Path: path, Source: source})
		}
	}
	return list, nil
}

// Listed is one place of a source.
type Listed struct {
	Source string   `json:"source"`
	Assets []string `json:"assets"`
	Place  string   `json:"place"`
	// Holds describes the place.
	Holds string `json:"holds"`
	Hash  string `json:"hash"`
	// Unchecked is true if the hash was compared with nothing that upstream publishes.
	Unchecked bool `json:"unchecked,omitempty"`
	// Size is in bytes, 0 if it is unknown.
	Size int64 `json:"size"`
	// Where lists the caches that have the file: "local", "registry".
	Where []string `json:"where"`
}

// List returns the places of all sources.
func (s *Set) List(ctx context.Context) ([]Listed, error) {
	return places(s, func(d workspace.Declared, place versions.Place) (Listed, error) {
		l := Listed{
			Source: d.Path, Assets: d.Assets, Place: place.Name, Holds: place.Holds(), Hash: place.Hash(), Unchecked: place.Unchecked, Size: place.Size, Where: []string{},
		}
		local, err := s.Fetcher.Has(ctx, place)
		if err != nil {
			return l, err
		}
		if local.Cached {
			l.Where, l.Size = append(l.Where, store.InLocal), local.Size
		}
		remote, err := s.inRegistry(ctx, place)
		if store.IsNotFound(err) {
			return l, nil
		}
		l.Where, l.Size = append(l.Where, store.InRegistry), remote
		return l, err
	})
}

// places returns the result of look for each place of all sources. It notes why a source
// has no places.
func places[T any](s *Set, look func(workspace.Declared, versions.Place) (T, error)) (list []T, err error) {
	for _, d := range s.Sources {
		if d.Unlocked != nil {
			s.Report.Note(d.Path, d.Unlocked.Error())
		}
		for _, place := range d.Places {
			one, err := look(d, place)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	return list, nil
}

// inRegistry returns the size of the file of a place that the registry has.
func (s *Set) inRegistry(ctx context.Context, place versions.Place) (int64, error) {
	if s.Store.Registry == nil || !place.Cacheable() {
		return 0, store.ErrNotFound
	}
	return s.Store.Registry.FindSource(ctx, place.Hash())
}

// Fetch fetches every source that can be fetched, each under its path; the error
// lists the others.
func (s *Set) Fetch(ctx context.Context) ([]source.Fetched, error) {
	return each(ctx, s.Sources, func(d workspace.Declared) (source.Fetched, error) {
		fetched, err := s.fetch(ctx, d)
		fetched.Name = d.Path
		return fetched, err
	})
}

func (s *Set) fetch(ctx context.Context, d workspace.Declared) (source.Fetched, error) {
	stage := s.Report.Stage(d.Path, "source")
	fetched, err := s.Fetcher.Fetch(ctx, d.Source, stage)
	stage.End(err, fmt.Sprintf("%s, from the %s, %s", fetched.Place, fetched.From, progress.Size(fetched.Size)))
	if err != nil {
		return source.Fetched{}, fmt.Errorf("fetching source %q: %w", d.Path, err)
	}
	return fetched, nil
}

// each returns the results of work for the sources. The error joins those of all that
// failed, or is the context's.
func each[T any](ctx context.Context, sources []workspace.Declared, work func(workspace.Declared) (T, error)) (done []T, err error) {
	var failed []error
	for _, d := range sources {
		if d.Unlocked != nil {
			failed = append(failed, fmt.Errorf("source %q: %w", d.Path, d.Unlocked))
			continue
		}
		result, err := work(d)
		switch {
		case ctx.Err() != nil:
			return done, context.Cause(ctx)
		case err != nil:
			failed = append(failed, err)
		default:
			done = append(done, result)
		}
	}
	return done, errors.Join(failed...)
}
