package archive

import (
	"slices"
	"strings"
)

// ChangeKind says what became of a member.
type ChangeKind string

// What can become of a member.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is a member that two tarballs do not have in common. Before is zero for
// one that was added, After for one that was removed.
type Change struct {
	Kind          ChangeKind
	Name          string
	Before, After Member
}

// What says in what a changed member differs, for a person.
func (c Change) What() string { return difference(c.Before, c.After) }

// Diff compares the members of two tarballs, whatever their order, and returns
// what differs, sorted by name.
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
	for _, b := range after {
		if _, left := second[b.Name]; left {
			delete(second, b.Name)
			changes = append(changes, Change{Kind: Added, Name: b.Name, After: b})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return changes
}
