package workspace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/supply"
)

// Supply returns what the selected assets and their dependencies are built from.
// Given are files and clones by the names of sources, which replace their places.
func (w *Workspace) Supply(selection Selection, given map[string]string) (*supply.Set, error) {
	names, arch, err := w.Select(selection)
	if err != nil {
		return nil, err
	}
	if err := w.CheckSources(names, arch, given); err != nil {
		return nil, err
	}
	w.Sources.Local = given
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return nil, Usage(err)
	}
	set := &supply.Set{Fetcher: w.Sources, Store: w.Store, Report: w.Report}
	assets := map[string][]string{}
	for _, asset := range closure {
		for _, path := range slices.Sorted(maps.Values(asset.Sources)) {
			assets[path] = append(assets[path], asset.Name)
			if len(assets[path]) > 1 {
				continue
			}
			declared, err := w.Resolver.Versions.Source(path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", asset.Pos, err)
			}
			set.Sources = append(set.Sources, supply.Declared{Path: path, Source: declared})
		}
		plan, err := w.Resolve(asset, arch)
		if err != nil {
			return nil, err
		}
		set.Recipes = append(set.Recipes, plan.Recipe)
	}
	for i := range set.Sources {
		set.Sources[i].Assets = assets[set.Sources[i].Path]
	}
	slices.SortFunc(set.Sources, func(a, b supply.Declared) int { return strings.Compare(a.Path, b.Path) })
	return set, nil
}
