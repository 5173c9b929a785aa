package workspace

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Selection is how a command line selects assets: by names, as a release set, or
// all of an architecture.
type Selection struct {
	Names []string
	Set   string
	All   bool
	// Without are assets to leave out of a set, or of all.
	Without []string
	// Arch is an architecture by any of its names; "" is that of this machine.
	Arch string
}

// Check refuses a selection that is contradictory or empty.
func (s Selection) Check() error {
	switch given := len(s.Names) > 0; {
	case given && s.Set != "":
		return Usage(errors.New("give names or --set, not both"))
	case given && s.All:
		return Usage(errors.New("give names or --all, not both"))
	case s.All && s.Set != "":
		return Usage(errors.New("give --set or --all, not both"))
	case given && len(trimmed(s.Without)) > 0:
		return Usage(errors.New("--without leaves assets out of a set: give it with --set or --all"))
	case !given && s.Set == "" && !s.All:
		return Usage(errors.New("no assets selected: name some, or pass --set SET or --all (`pipelines list` prints all assets)"))
	}
	return nil
}

// Select returns the names of the selected assets and the architecture.
func (w *Workspace) Select(s Selection) ([]string, catalog.Arch, error) {
	if err := s.Check(); err != nil {
		return nil, "", err
	}
	arch, err := Arch(s.Arch)
	if err != nil {
		return nil, "", err
	}
	switch {
	case s.Set != "":
		set, err := w.Set(s.Set, s.Without)
		if err != nil {
			return nil, "", err
		}
		names, err := set.On(arch)
		return names, arch, Usage(err)
	case s.All:
		without, err := w.Known(s.Without)
		names := slices.DeleteFunc(w.Catalog.On(arch), func(name string) bool { return slices.Contains(without, name) })
		return names, arch, err
	}
	for _, name := range s.Names {
		if _, err := w.Catalog.Find(name, arch); err != nil {
			return nil, "", Usage(err)
		}
	}
	return s.Names, arch, nil
}

// One returns the asset of a name on an architecture.
func (w *Workspace) One(name, arch string) (catalog.Asset, catalog.Arch, error) {
	parsed, err := Arch(arch)
	if err != nil {
		return catalog.Asset{}, "", err
	}
	asset, err := w.Catalog.Find(name, parsed)
	return asset, parsed, Usage(err)
}

// Arch resolves the name of an architecture; "" is that of this machine.
func Arch(name string) (catalog.Arch, error) {
	if name == "" {
		return catalog.HostArch(), nil
	}
	arch, err := catalog.ParseArch(name)
	return arch, Usage(err)
}

// Known returns the names of --without. Each must name an asset, of any architecture.
func (w *Workspace) Known(without []string) ([]string, error) {
	without = trimmed(without)
	for _, name := range without {
		if known := w.Catalog.Names(); !slices.Contains(known, name) {
			return nil, Usage(fmt.Errorf("--without: unknown asset %q%s", name, nearest.Hint(name, known)))
		}
	}
	return without, nil
}

// Set returns a release set, with assets left out of it.
func (w *Workspace) Set(name string, without []string) (catalog.Set, error) {
	reduced, err := w.CatalogWithout(without)
	if err != nil {
		return catalog.Set{}, err
	}
	set, err := reduced.FindSet(name)
	return set, Usage(err)
}

// CatalogWithout returns the catalog with assets left out of its release sets.
func (w *Workspace) CatalogWithout(without []string) (*catalog.Catalog, error) {
	without = trimmed(without)
	reduced := *w.Catalog
	reduced.Sets = nil
	left := map[string]bool{}
	for _, set := range w.Catalog.Sets {
		components := map[catalog.Arch][]string{}
		for arch, names := range set.Components {
			components[arch] = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
				out := slices.Contains(without, name)
				left[name] = left[name] || out
				return out
			})
		}
		set.Components = components
		reduced.Sets = append(reduced.Sets, set)
	}
	for _, name := range without {
		if !left[name] {
			return nil, Usage(fmt.Errorf("--without %s: not in any release set", name))
		}
	}
	return &reduced, nil
}

// trimmed drops spaces and empty names: "a, b" on a command line has a space, and a
// variable may be empty.
func trimmed(names []string) []string {
	var list []string
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, name)
		}
	}
	return list
}

// Declared is a source of the lock and the assets that use it. Its name is the one that
// the first of them gives it.
type Declared struct {
	Path string
	versions.Source
	Assets []string
	// Unlocked says why it has no places; nil for a source that has some.
	Unlocked *versions.Unlocked
}

// Declared returns the sources of assets and of all they depend on, by path.
func (w *Workspace) Declared(names []string, arch catalog.Arch) ([]Declared, error) {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return nil, Usage(err)
	}
	byPath := map[string]Declared{}
	for _, asset := range closure {
		for _, name := range slices.Sorted(maps.Keys(asset.Sources)) {
			path := asset.Sources[name]
			d, seen := byPath[path]
			if !seen {
				if d.Source, err = w.Resolver.Versions.Source(path); err != nil && !errors.As(err, &d.Unlocked) {
					return nil, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
				}
				if err == nil && len(d.Places) == 0 {
					continue // The version has no such source.
				}
				d.Path, d.Name = path, name
			}
			d.Assets = append(d.Assets, asset.Name)
			byPath[path] = d
		}
	}
	var all []Declared
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		all = append(all, byPath[path])
	}
	return all, nil
}

// CheckSources refuses a local file (--source NAME=PATH) that does not exist, or whose name
// is neither an asset nor a source that one of the assets uses, and a place (--place NAME)
// that none of their sources has; "" is any place.
func (w *Workspace) CheckSources(names []string, arch catalog.Arch, given map[string]string, place string) error {
	if len(given) == 0 && place == "" {
		return nil
	}
	declared, err := w.Declared(names, arch)
	if err != nil {
		return err
	}
	sources, places := map[string]bool{}, map[string]bool{}
	for _, d := range declared {
		sources[d.Name] = true
		for _, p := range d.Places {
			places[p.Name] = true
		}
	}
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return Usage(err)
	}
	for _, asset := range closure {
		sources[asset.Name] = true
	}
	known := slices.Sorted(maps.Keys(sources))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !sources[name] {
			return Usage(fmt.Errorf("--source %s: the build has no asset or source of that name%s; it has %s", name, nearest.Hint(name, known), cmp.Or(strings.Join(known, " "), "none")))
		}
		if _, err := os.Stat(given[name]); err != nil {
			return Usage(fmt.Errorf("--source %s: %w", name, err))
		}
	}
	if known = slices.Sorted(maps.Keys(places)); place != "" && !places[place] {
		return Usage(fmt.Errorf("--place %s: no source of the build has a place of that name%s; there is %s", place, nearest.Hint(place, known), cmp.Or(strings.Join(known, " "), "none")))
	}
	return nil
}
