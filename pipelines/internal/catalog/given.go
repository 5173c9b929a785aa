package catalog

import (
	"fmt"
	"slices"
	"strings"
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
