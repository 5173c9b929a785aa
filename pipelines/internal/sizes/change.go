package sizes

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Change is how a tarball differs from an earlier one.
type Change struct {
	// Since names the earlier one: its version, or the file that was read.
	Since string `json:"since"`
	// Before and After are the sizes of the tarballs in bytes.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Estimated is true if the earlier one has no index: each of its members is then
	// taken to compress equally well.
	Estimated bool `json:"estimated,omitempty"`
	// Components are those whose share changed and Members those whose content
	// changed. What grew most comes first.
	Components []Delta `json:"components"`
	Members    []Delta `json:"members"`
}

// Delta is a component or a member that changed.
type Delta struct {
	Name string `json:"name"`
	// Was is the earlier name of a member that now has another version in it.
	Was string `json:"was,omitempty"`
	// Component is that of a member, "" if it is not known.
	Component string `json:"component,omitempty"`
	// State is "new", "gone" or "changed".
	State string `json:"state"`
	// Before and After are shares of the tarballs in bytes.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// States of a Delta.
const (
	StateNew     = "new"
	StateGone    = "gone"
	StateChanged = "changed"
)

// Growth is the difference in bytes, negative for a tarball that shrank.
func (c *Change) Growth() int64 { return c.After - c.Before }

// Growth is the difference in bytes, negative for what shrank.
func (d Delta) Growth() int64 { return d.After - d.Before }

// note says where a member is from and what happened to it.
func (d Delta) note() string {
	var notes []string
	if d.Component != "" {
		notes = append(notes, d.Component)
	}
	switch {
	case d.State == StateNew:
		notes = append(notes, "new")
	case d.Was != "":
		notes = append(notes, "was "+path.Base(d.Was))
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, ", ") + ")"
}

// Compare sets Change to the differences from an earlier tarball. A report of another
// set or architecture is an error.
func (r *Report) Compare(previous *Previous) error {
	if p := previous.report; p != nil && (p.Set != r.Set || p.Arch != r.Arch) {
		return fmt.Errorf("the previous report is of %s on %s, but this one is of %s on %s: compare with one of the same set and architecture", p.Set, p.Arch, r.Set, r.Arch)
	}
	change := &Change{
		Since: previous.Name, Before: previous.Size, After: r.Size, Estimated: previous.Estimated,
		Components: []Delta{}, Members: []Delta{},
	}
	before := previous.components(*r)
	for _, c := range r.Components {
		i := slices.IndexFunc(before, func(b Component) bool { return b.Name == c.Name })
		if i < 0 {
			change.Components = append(change.Components, Delta{Name: c.Name, State: StateNew, After: c.Size})
			change.Members = append(change.Members, deltas(c.Name, nil, c.Members)...)
			continue
		}
		members := deltas(c.Name, before[i].Members, c.Members)
		// An estimated size differs even if nothing changed.
		if c.Size != before[i].Size && (len(members) > 0 || !previous.Estimated) {
			change.Components = append(change.Components, Delta{Name: c.Name, State: StateChanged, Before: before[i].Size, After: c.Size})
		}
		change.Members = append(change.Members, members...)
	}
	for _, b := range before {
		if slices.ContainsFunc(r.Components, func(c Component) bool { return c.Name == b.Name }) {
			continue
		}
		if slices.Contains(r.Missing, b.Name) || b.Name == "" && len(r.Missing) > 0 {
			continue // It is not gone: this report was made without it.
		}
		if b.Name != "" {
			change.Components = append(change.Components, Delta{Name: b.Name, State: StateGone, Before: b.Size})
		}
		change.Members = append(change.Members, deltas(b.Name, b.Members, nil)...)
	}
	slices.SortStableFunc(change.Components, byGrowth)
	slices.SortStableFunc(change.Members, byGrowth)
	r.Change = change
	return nil
}

func byGrowth(a, b Delta) int {
	return cmp.Or(cmp.Compare(b.Growth(), a.Growth()), strings.Compare(a.Name, b.Name))
}

// deltas pairs the members of a component by name, and the rest by name without
// version if that is unambiguous.
func deltas(component string, before, after []Member) []Delta {
	was := map[string]Member{}
	for _, m := range before {
		was[m.Name] = m
	}
	var all []Delta
	var added []Member
	for _, m := range after {
		old, there := was[m.Name]
		delete(was, m.Name)
		switch {
		case !there:
			added = append(added, m)
		case m.differs(old):
			all = append(all, Delta{Name: m.Name, Component: component, State: StateChanged, Before: old.Packed, After: m.Packed})
		}
	}
	gone := map[string][]Member{}
	for _, m := range was {
		gone[stem(m.Name)] = append(gone[stem(m.Name)], m)
	}
	fresh := map[string]int{}
	for _, m := range added {
		fresh[stem(m.Name)]++
	}
	for _, m := range added {
		d := Delta{Name: m.Name, Component: component, State: StateNew, After: m.Packed}
		if old := gone[stem(m.Name)]; len(old) == 1 && fresh[stem(m.Name)] == 1 {
			d.State, d.Was, d.Before = StateChanged, old[0].Name, old[0].Packed
			delete(was, old[0].Name)
		}
		all = append(all, d)
	}
	for _, m := range was {
		all = append(all, Delta{Name: m.Name, Component: component, State: StateGone, Before: m.Packed})
	}
	return all
}

// differs compares contents. The share of a small file depends on its neighbours, so a
// different share means nothing.
func (m Member) differs(old Member) bool {
	return m.Size != old.Size || m.SHA256 != old.SHA256 || m.Link != old.Link
}

var digits = regexp.MustCompile(`[0-9]+([._+~-][0-9]+)*`)

// stem returns a name without the versions in it.
func stem(name string) string { return digits.ReplaceAllString(name, "#") }

// inChanged returns the members of components that existed before and still do: for
// the others the component says everything.
func (c *Change) inChanged() []Delta {
	return slices.DeleteFunc(slices.Clone(c.Members), func(m Delta) bool {
		return slices.ContainsFunc(c.Components, func(d Delta) bool { return d.Name == m.Component && d.State != StateChanged })
	})
}

// component returns how a component of the report changed, or nil.
func (c *Change) component(name string) *Delta {
	if c == nil {
		return nil
	}
	return find(c.Components, name)
}

// member returns how a member of the report changed, or nil.
func (c *Change) member(name string) *Delta {
	if c == nil {
		return nil
	}
	return find(c.Members, name)
}

func find(all []Delta, name string) *Delta {
	for i, d := range all {
		if d.Name == name && d.State != StateGone {
			return &all[i]
		}
	}
	return nil
}
