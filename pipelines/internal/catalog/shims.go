package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// ShimsFile declares the contents of the kata-deploy image.
const ShimsFile = "assets/shims.yaml"

// Shims are the base of a kata-deploy image and the components that each runtime
// class needs.
type Shims struct {
	// Base is the base image, NAME@sha256:<64 hex digits>.
	Base string
	// Classes are the runtime classes, such as "qemu-snp", which is "kata-qemu-snp" in
	// Kubernetes, with the assets that each needs. They are sorted by name.
	Classes []Set
}

// LoadShims reads assets/shims.yaml below the root of a tree. It reports all problems,
// joined, each with file and line.
func (c *Catalog) LoadShims(tree fs.FS) (*Shims, error) {
	var file struct {
		Base  string                       `yaml:"base"`
		Shims map[string]map[Arch][]string `yaml:"shims"`
	}
	root, err := strictyaml.ReadFile(tree, ShimsFile, &file)
	if err != nil {
		return nil, err
	}
	check := checker{Node: root}
	check.at("base").name("base", file.Base, imageName)
	if len(file.Shims) == 0 {
		check.At("shims").Problem("no shims: declare at least one")
	}
	shims := &Shims{Base: file.Base, Classes: check.at("shims").sets(c, "shim", file.Shims)}
	for _, class := range shims.Classes {
		if len(class.Components) == 0 {
			check.At("shims", class.Name).Problem("shim %s has no architecture: name one, with the assets it needs there", class.Name)
		}
	}
	if err := root.Err(); err != nil {
		return nil, err
	}
	return shims, nil
}

// Check reports the classes of an architecture that need an asset which is not among the
// components: the installer would fail.
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

// Without returns the shims that need only the given components on an architecture, and
// the sorted names of those left out: a payload of few components serves few classes.
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
	// Package json sorts the keys of maps.
	data, err := json.MarshalIndent(struct {
		Comment []string                     `json:"_comment"`
		Shims   map[string]map[Arch][]string `json:"shims"`
	}{[]string{
		"The components that each shim needs on each architecture, made from " + ShimsFile + ".",
		"A component NAME is tarballs/kata-static-NAME.tar.zst beside this file.",
	}, shims}, "", "  ")
	return append(data, '\n'), err
}
