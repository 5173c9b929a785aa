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

// SetsFile declares which assets a release merges into which tarball. It is optional.
const SetsFile = "assets/sets.yaml"

// Set is a release set: the assets that are merged into one release tarball.
type Set struct {
	// Name is for example "kata-static".
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
	if len(known) == 0 {
		return Set{}, fmt.Errorf("unknown release set %q: %s declares none", name, SetsFile)
	}
	return Set{}, fmt.Errorf("unknown release set %q: %s declares %s%s", name, SetsFile, strings.Join(known, ", "), nearest.Hint(name, known))
}

// On returns the assets of an architecture. The error lists the architectures of the
// set.
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
		return nil, fmt.Errorf("%s: release set %s has no assets yet: add the first one there", s.Pos, s.Name)
	}
	return nil, fmt.Errorf("%s: release set %s has no assets on %s, only on %s", s.Pos, s.Name, arch, join(made))
}

// loadSets reads assets/sets.yaml and checks it against the assets. A set without
// architectures waits for its first asset.
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
	check := checker{file: SetsFile, root: root}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		set := Set{Name: name, Components: file[name], Pos: fmt.Sprintf("%s:%d", SetsFile, root.Line(name))}
		check.name(set.Pos, "release set", name, plainName)
		check.components(c, name, set.Components, name)
		c.Sets = append(c.Sets, set)
	}
	return errors.Join(check.problems...)
}
