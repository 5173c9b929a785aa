package archive

import (
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

// Change is a member that differs between two tarballs. Before is zero for one that
// was added, After for one that was removed.
type Change struct {
	Kind          ChangeKind
	Name          string
	Before, After Member
}

// String is a line for a person: "changed  ./opt/kata/x: files of 4 and 13 bytes".
func (c Change) String() string {
	if c.Kind == Changed {
		return fmt.Sprintf("%-8s %s: %s", c.Kind, c.Name, difference(c.Before, c.After))
	}
	m := c.Before
	if c.Kind == Added {
		m = c.After
	}
	if m.Mode.IsRegular() {
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
	second := make(map[string]Member, len(after))
	for _, m := range after {
		second[m.Name] = m
	}
	var changes []Change
	for _, a := range before {
		b, found := second[a.Name]
		delete(second, a.Name)
		switch {
		case !found:
			changes = append(changes, Change{Kind: Removed, Name: a.Name, Before: a})
		case a != b:
			changes = append(changes, Change{Kind: Changed, Name: a.Name, Before: a, After: b})
		}
	}
	for _, b := range second {
		changes = append(changes, Change{Kind: Added, Name: b.Name, After: b})
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return changes
}
