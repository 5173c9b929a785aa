package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// SetsFile declares, in a tree, which assets a release merges into which tarball.
// A tree that releases nothing has none.
const SetsFile = "assets/sets.yaml"

// Set is a release set: the assets whose tarballs make up one of a release.
type Set struct {
	// Name is "kata-static", say.
	Name string
	// Components are the assets by architecture, in the order of the file. An
	// architecture that the set is not made for is missing.
	Components map[Arch][]string
	// Pos says where it is declared: "assets/sets.yaml:12".
	Pos string
}

// FindSet returns the release set of that name. The error of an unknown one says
// what there is.
func (c *Catalog) FindSet(name string) (Set, error) {
	var known []string
	for _, set := range c.Sets {
		if set.Name == name {
			return set, nil
		}
		known = append(known, set.Name)
	}
	if len(known) == 0 {
		return Set{}, fmt.Errorf("unknown release set %q: %s declares none", name, SetsFile)
	}
	return Set{}, fmt.Errorf("unknown release set %q: %s declares %s%s", name, SetsFile, strings.Join(known, ", "), nearest.Hint(name, known))
}

// On returns the assets of an architecture. One that the set is not made for is an
// error that says what it is made for.
func (s Set) On(arch Arch) ([]string, error) {
	if names := s.Components[arch]; len(names) > 0 {
		return names, nil
	}
	var made []Arch
	for _, a := range Arches() {
		if len(s.Components[a]) > 0 {
			made = append(made, a)
		}
	}
	if made == nil {
		return nil, fmt.Errorf("%s: the release set %s has no assets yet: add the first one there", s.Pos, s.Name)
	}
	return nil, fmt.Errorf("%s: the release set %s has no assets on %s: it has some on %s", s.Pos, s.Name, arch, join(made))
}

// loadSets reads assets/sets.yaml, and checks it against the assets.
func (c *Catalog) loadSets(tree fs.FS) error {
	data, err := fs.ReadFile(tree, SetsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", SetsFile, cause(err))
	}
	var file map[string]map[Arch][]string
	root, err := strictyaml.Decode(SetsFile, data, &file)
	if err != nil {
		return err
	}
	if len(file) == 0 {
		return fmt.Errorf("%s: no release sets: add one, or remove the file", SetsFile)
	}
	check := checker{file: SetsFile, root: root}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		set := Set{Name: name, Components: file[name], Pos: fmt.Sprintf("%s:%d", SetsFile, root.KeyLine(name))}
		check.set(c, set)
		c.Sets = append(c.Sets, set)
	}
	return errors.Join(check.problems...)
}

// set checks a release set. One without architectures waits for its first asset.
func (c *checker) set(assets *Catalog, set Set) {
	if !validName.MatchString(set.Name) {
		c.problem(set.Pos, "release set %q: want lower case letters, digits and single dashes", set.Name)
	}
	for _, arch := range slices.Sorted(maps.Keys(set.Components)) {
		c.arch(arch, set.Name, string(arch))
		names := set.Components[arch]
		if len(names) == 0 {
			c.problem(c.at(set.Name, string(arch)), "%s has no assets on %s: name some, or leave the architecture out", set.Name, arch)
		}
		for i, name := range names {
			where := c.at(set.Name, string(arch), i)
			if slices.Contains(names[:i], name) {
				c.problem(where, "asset %s stands twice in %s on %s", name, set.Name, arch)
				continue
			}
			if !slices.Contains(assets.Names(), name) {
				c.problem(where, "unknown asset %q%s", name, nearest.Hint(name, assets.Names()))
			} else if _, err := assets.Find(name, arch); err != nil {
				c.problem(where, "%w", err)
			}
		}
	}
}
