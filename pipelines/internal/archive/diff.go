package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ChangeKind says how a member changed.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is a member that differs between two tarballs. Before is nil for one that was
// added, After for one that was removed.
type Change struct {
	Kind          ChangeKind
	Name          string
	Before, After *Member
}

// String is a line for a person: "changed  ./opt/kata/x: files of 4 and 13 bytes".
func (c Change) String() string {
	if c.Kind == Changed {
		return fmt.Sprintf("%-8s %s: %s", c.Kind, c.Name, difference(*c.Before, *c.After))
	}
	if m := cmp.Or(c.Before, c.After); m.Mode.IsRegular() {
		return fmt.Sprintf("%-8s %s (%d bytes)", c.Kind, c.Name, m.Size)
	}
	return fmt.Sprintf("%-8s %s", c.Kind, c.Name)
}

// DiffFiles compares the members of two tarballs.
func DiffFiles(before, after string) ([]Change, error) {
	var members [2][]Member
	for i, path := range []string{before, after} {
		listing, err := Inspect(path)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", path, err)
		}
		for _, m := range listing.Members {
			members[i] = append(members[i], m.Member)
		}
	}
	return Diff(members[0], members[1]), nil
}

// Diff compares the members of two tarballs, whatever their order, and returns the
// changes, sorted by name.
func Diff(before, after []Member) []Change {
	left := map[string]*Member{}
	for _, m := range before {
		left[m.Name] = &m
	}
	var changes []Change
	for _, m := range after {
		old := left[m.Name]
		delete(left, m.Name)
		switch {
		case old == nil:
			changes = append(changes, Change{Added, m.Name, nil, &m})
		case *old != m:
			changes = append(changes, Change{Changed, m.Name, old, &m})
		}
	}
	for name, old := range left {
		changes = append(changes, Change{Removed, name, old, nil})
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return changes
}
