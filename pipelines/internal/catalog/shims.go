package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// ShimsFile declares, in a tree, what the kata-deploy image is made of.
const ShimsFile = "assets/shims.yaml"

// Shims says what a kata-deploy image begins with, and which of its components a
// runtime class needs.
type Shims struct {
	// Base is the image to begin with, NAME@sha256:<64 hex digits>.
	Base string
	// Classes are sorted by name.
	Classes []Class
}

// Class is a runtime class, such as "qemu-snp": that of Kubernetes is "kata-qemu-snp".
type Class struct {
	Name string
	// Components are the assets it needs on each of its architectures, in the order
	// of the file.
	Components map[Arch][]string
	// Pos says where it is declared: "assets/shims.yaml:12".
	Pos string
}

// LoadShims reads assets/shims.yaml below the root of a tree. It reports all
// problems it finds, joined, each with file and line: unknown or repeated fields, a
// base without a digest, an asset that the catalog lacks, on that architecture too,
// or that stands twice.
func (c *Catalog) LoadShims(tree fs.FS) (*Shims, error) {
	data, err := fs.ReadFile(tree, ShimsFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ShimsFile, cause(err))
	}
	var file struct {
		Base  string                       `yaml:"base"`
		Shims map[string]map[Arch][]string `yaml:"shims"`
	}
	root, err := strictyaml.Decode(ShimsFile, data, &file)
	if err != nil {
		return nil, err
	}
	check := checker{file: ShimsFile, root: root}
	shims := &Shims{Base: file.Base}
	if !validImage.MatchString(file.Base) {
		check.problem(check.at("base"), "base is %q: want NAME@sha256:<64 hex digits>", file.Base)
	}
	if len(file.Shims) == 0 {
		check.problem(check.at("shims"), "no shims: declare at least one")
	}
	for _, name := range slices.Sorted(maps.Keys(file.Shims)) {
		class := Class{Name: name, Components: file.Shims[name], Pos: fmt.Sprintf("%s:%d", ShimsFile, root.KeyLine("shims", name))}
		check.class(c, class)
		shims.Classes = append(shims.Classes, class)
	}
	if err := errors.Join(check.problems...); err != nil {
		return nil, err
	}
	return shims, nil
}

// class checks a runtime class.
func (c *checker) class(assets *Catalog, class Class) {
	if !validName.MatchString(class.Name) {
		c.problem(class.Pos, "%q is no name of a shim: want small letters, digits and dashes", class.Name)
	}
	if len(class.Components) == 0 {
		c.problem(class.Pos, "shim %s has no architecture: name one, with the assets it needs there", class.Name)
	}
	for _, arch := range slices.Sorted(maps.Keys(class.Components)) {
		c.arch(arch, "shims", class.Name, string(arch))
		names := class.Components[arch]
		if len(names) == 0 {
			c.problem(c.at("shims", class.Name, string(arch)), "shim %s needs nothing on %s: name its assets, or leave the architecture out", class.Name, arch)
		}
		for i, name := range names {
			where := c.at("shims", class.Name, string(arch), i)
			if slices.Contains(names[:i], name) {
				c.problem(where, "asset %s stands twice", name)
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

// Needs returns the assets that the classes of an architecture need, sorted.
func (s *Shims) Needs(arch Arch) []string {
	var names []string
	for _, class := range s.Classes {
		names = append(names, class.Components[arch]...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Check reports the classes of an architecture that need an asset which is not
// among the components: an installer would give up on them.
func (s *Shims) Check(arch Arch, components []string) error {
	var problems []error
	for _, class := range s.Classes {
		for _, name := range class.Components[arch] {
			if !slices.Contains(components, name) {
				problems = append(problems, fmt.Errorf("%s: shim %s needs %s on %s, which is not in the payload", class.Pos, class.Name, name, arch))
			}
		}
	}
	return errors.Join(problems...)
}

// Without returns the shims that need nothing but the components on an architecture,
// and the names of those that are left out there, sorted. A payload of few components
// serves few classes.
func (s *Shims) Without(arch Arch, components []string) (rest *Shims, dropped []string) {
	rest = &Shims{Base: s.Base}
	for _, class := range s.Classes {
		lacks := func(name string) bool { return !slices.Contains(components, name) }
		if slices.ContainsFunc(class.Components[arch], lacks) {
			dropped = append(dropped, class.Name)
			class.Components = maps.Clone(class.Components)
			delete(class.Components, arch)
		}
		rest.Classes = append(rest.Classes, class)
	}
	return rest, dropped
}

// JSON returns shim-components.json, which kata-deploy reads on a node: for each
// shim and architecture the components to unpack.
func (s *Shims) JSON() ([]byte, error) {
	shims := map[string]map[Arch][]string{}
	for _, class := range s.Classes {
		if len(class.Components) > 0 {
			shims[class.Name] = class.Components
		}
	}
	// Maps are written in the order of their keys.
	data, err := json.MarshalIndent(struct {
		Comment []string                     `json:"_comment"`
		Shims   map[string]map[Arch][]string `json:"shims"`
	}{[]string{
		"The components that each shim needs on each architecture, made from " + ShimsFile + ".",
		"A component NAME is tarballs/kata-static-NAME.tar.zst beside this file.",
	}, shims}, "", "  ")
	return append(data, '\n'), err
}
