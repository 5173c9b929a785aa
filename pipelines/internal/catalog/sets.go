package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// SetsFile declares which assets a release merges into which tarball. It is optional.
const SetsFile = "assets/sets.yaml"

// Set is a named set of assets: a release set, whose assets are merged into one
// release tarball, or what a runtime class needs.
type Set struct {
	// Name is for example "kata-static", or "qemu-snp".
	Name string
	// Components are the assets by architecture, in the order of the file.
	Components map[Arch][]string
	// Pos is the place of the declaration, "assets/sets.yaml:12".
	Pos string
}

// FindSet returns the release set of that name. The error lists the known sets.
func (c *Catalog) FindSet(name string) (Set, error) {
	var known []string
	for _, set := range c.Sets {
		if set.Name == name {
			return set, nil
		}
		known = append(known, set.Name)
	}
	return Set{}, fmt.Errorf("unknown release set %q: %s declares %s%s",
		name, SetsFile, cmp.Or(strings.Join(known, ", "), "none"), nearest.Hint(name, known))
}

// On returns the assets of an architecture. The error lists the architectures of the
// set.
func (s Set) On(arch Arch) ([]string, error) {
	if names := s.Components[arch]; len(names) > 0 {
		return names, nil
	}
	made := slices.DeleteFunc(Arches(), func(a Arch) bool { return len(s.Components[a]) == 0 })
	if len(made) == 0 {
		return nil, fmt.Errorf("%s: release set %s has no assets yet: add the first one there", s.Pos, s.Name)
	}
	return nil, fmt.Errorf("%s: release set %s has no assets on %s, only on %s", s.Pos, s.Name, arch, join(made))
}

// loadSets reads assets/sets.yaml and checks it against the assets. A set may have no
// assets yet.
func (c *Catalog) loadSets(tree fs.FS) error {
	var file map[string]map[Arch][]string
	root, err := strictyaml.ReadFile(tree, SetsFile, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(file) == 0 {
		return fmt.Errorf("%s: no release sets: add one, or remove the file", SetsFile)
	}
	c.Sets = checker{Node: root}.sets(c, "release set", file)
	return root.Err()
}

// sets checks sets and returns them, sorted by name.
func (c checker) sets(assets *Catalog, what string, file map[string]map[Arch][]string) []Set {
	var all []Set
	for _, name := range slices.Sorted(maps.Keys(file)) {
		at := c.at(name)
		set := Set{Name: name, Components: file[name], Pos: at.Pos()}
		at.name(what, name, plainName)
		for _, arch := range slices.Sorted(maps.Keys(set.Components)) {
			at.at(string(arch)).components(assets, set, arch)
		}
		all = append(all, set)
	}
	return all
}

// components checks the assets of a set on an architecture.
func (c checker) components(assets *Catalog, set Set, arch Arch) {
	c.arch(arch)
	names := set.Components[arch]
	if len(names) == 0 {
		c.Problem("%s has no assets on %s: name some, or leave the architecture out", set.Name, arch)
	}
	c.unique("asset", nil, names)
	for i, name := range names {
		if _, err := assets.Find(name, arch); err != nil {
			c.At(i).Problem("%w", err)
		}
	}
}
