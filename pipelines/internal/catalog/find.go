package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// Replaced returns the catalog with a built asset that the caller has made: it is imported,
// and its tarball holds all of a folder or archive, or only a program where the asset
// declares a place for it. It has no steps, so it needs no dependency.
func (c *Catalog) Replaced(name string, program bool) (*Catalog, error) {
	replaced := *c
	replaced.Assets = slices.Clone(c.Assets)
	a := &replaced.Assets[slices.Index(c.Names(), name)]
	switch {
	case len(a.Outputs) > 0:
		return nil, fmt.Errorf("%s cannot be replaced: it has secondary tarballs (%s at %s), which one path does not give", name, strings.Join(a.Outputs, ", "), a.Pos)
	case program && a.Program == "":
		return nil, fmt.Errorf("it is a program, and %s does not declare where one belongs in its tarball (program: at %s): give a folder that has it in its place", name, a.Pos)
	}
	members := map[string]string{"**": "/"}
	if program {
		members = map[string]string{".": a.Program}
	}
	*a = Asset{
		Name: a.Name, Description: a.Description, Arches: a.Arches, Verify: a.Verify, Checks: a.Checks, Budget: a.Budget,
		Import: &Import{Members: members}, Family: a.Family, Folder: a.Folder, Pos: a.Pos,
	}
	return &replaced, nil
}

// Names returns the names of all assets, sorted.
func (c *Catalog) Names() []string {
	names := make([]string, len(c.Assets))
	for i, asset := range c.Assets {
		names[i] = asset.Name
	}
	return names
}

// On returns the names of the assets of an architecture, sorted.
func (c *Catalog) On(arch Arch) []string {
	var names []string
	for _, asset := range c.Assets {
		if slices.Contains(asset.Arches, arch) {
			names = append(names, asset.Name)
		}
	}
	return names
}

// Find returns the asset of that name on an architecture, as Asset.On does. The error
// suggests a name, or lists the architectures of the asset.
func (c *Catalog) Find(name string, arch Arch) (Asset, error) {
	i := slices.Index(c.Names(), name)
	if i < 0 {
		return Asset{}, fmt.Errorf("unknown asset %q%s (`list` prints all assets)", name, nearest.Hint(name, c.Names()))
	}
	asset := c.Assets[i]
	if !slices.Contains(asset.Arches, arch) {
		return Asset{}, fmt.Errorf("%s does not exist on %s: %s declares it for %s", name, arch, asset.Pos, join(asset.Arches))
	}
	return asset.On(arch), nil
}

// FindKernel returns the guest kernel of that name and its architecture: arch by any
// of its names, or with "" this machine's or the only one that the kernel has.
func (c *Catalog) FindKernel(name, arch string) (Asset, Arch, error) {
	var kernels []string
	chosen := HostArch()
	for _, asset := range c.Assets {
		if asset.Kernel != nil {
			kernels = append(kernels, asset.Name)
		}
		if asset.Name == name && len(asset.Arches) == 1 {
			chosen = asset.Arches[0]
		}
	}
	if arch != "" {
		var err error
		if chosen, err = ParseArch(arch); err != nil {
			return Asset{}, "", err
		}
	}
	asset, err := c.Find(name, chosen)
	if err == nil && asset.Kernel == nil {
		err = fmt.Errorf("%s is not a guest kernel: choose one of %s", name, strings.Join(kernels, ", "))
	}
	return asset, chosen, err
}
