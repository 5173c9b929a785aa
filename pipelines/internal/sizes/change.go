package sizes

import (
	"cmp"
	"fmt"
	"maps"
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
	// changed, sorted by growth.
	Components []Delta `json:"components"`
	Members    []Delta `json:"members"`
}

// Delta is a component or a member that changed.
type Delta struct {
	Name string `json:"name"`
	// Was is the earlier name of a member that now has another version in it.
	Was string `json:"was,omitempty"`
	// Component is the component of a member, "" if it is not known.
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

// note names the component of a member and what happened to the member.
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
func (r *Report) Compare(before Report) error {
	if before.Format != 0 && (before.Set != r.Set || before.Arch != r.Arch) {
		return fmt.Errorf("the previous report is of %s on %s, but this one is of %s on %s: compare with one of the same set and architecture",
			before.Set, before.Arch, r.Set, r.Arch)
	}
	c := &Change{
		Since: before.Version, Before: before.Size, After: r.Size, Estimated: before.estimated,
		Components: []Delta{}, Members: []Delta{},
	}
	was, is, touched := map[string]int64{}, map[string]int64{}, map[string]bool{} // by component
	for _, d := range deltas(before, *r) {
		if d.State == StateGone && (slices.Contains(r.Missing, d.Component) || d.Component == "" && len(r.Missing) > 0) {
			continue // It is not gone: this report leaves out its component.
		}
		if d.State != StateNew {
			was[d.Component] += d.Before
		}
		if d.State != StateGone {
			is[d.Component] += d.After
		}
		if d.State != "" {
			c.Members, touched[d.Component] = append(c.Members, d), true
		}
	}
	names := maps.Clone(was)
	maps.Copy(names, is)
	delete(names, "")
	for name := range names {
		_, had := was[name]
		_, has := is[name]
		d := Delta{Name: name, State: StateChanged, Before: was[name], After: is[name]}
		if !had {
			d.State = StateNew
		} else if !has {
			d.State = StateGone
		}
		// An estimated size differs even if nothing changed.
		if d.State != StateChanged || d.Growth() != 0 && (touched[name] || !before.estimated) {
			c.Components = append(c.Components, d)
		}
	}
	slices.SortFunc(c.Components, byGrowth)
	slices.SortFunc(c.Members, byGrowth)
	r.Change = c
	return nil
}

func byGrowth(a, b Delta) int {
	return cmp.Or(cmp.Compare(b.Growth(), a.Growth()), strings.Compare(a.Name, b.Name))
}

// deltas pairs the members of each component by name, and the others by name without
// version where that is unambiguous. A tarball has no components: only the names count.
// The state of an unchanged member is "".
func deltas(before, after Report) (all []Delta) {
	was, is := before.owned(), after.owned()
	for _, short := range []func(name string) string{strings.Clone, stem} {
		key := func(m Owned) string {
			if before.Format == 0 {
				return short(m.Name)
			}
			return m.Component + " " + short(m.Name)
		}
		old, now := byKey(was, key), byKey(is, key)
		paired := func(m Owned) bool { return len(old[key(m)]) == 1 && len(now[key(m)]) == 1 }
		for _, m := range is {
			if paired(m) {
				all = append(all, old[key(m)][0].becomes(m))
			}
		}
		was, is = slices.DeleteFunc(was, paired), slices.DeleteFunc(is, paired)
	}
	for _, m := range was {
		all = append(all, Delta{Name: m.Name, Component: m.Component, State: StateGone, Before: m.Packed})
	}
	for _, m := range is {
		all = append(all, Delta{Name: m.Name, Component: m.Component, State: StateNew, After: m.Packed})
	}
	return all
}

func byKey(members []Owned, key func(Owned) string) map[string][]Owned {
	groups := map[string][]Owned{}
	for _, m := range members {
		groups[key(m)] = append(groups[key(m)], m)
	}
	return groups
}

// becomes compares contents. The share of a small file depends on its neighbours, so a
// different share means nothing.
func (m Owned) becomes(now Owned) Delta {
	d := Delta{Name: now.Name, Component: now.Component, Before: m.Packed, After: now.Packed}
	if m.Name != now.Name {
		d.State, d.Was = StateChanged, m.Name
	}
	if m.Size != now.Size || m.SHA256 != now.SHA256 || m.Link != now.Link {
		d.State = StateChanged
	}
	return d
}

var digits = regexp.MustCompile(`[0-9]+([._+~-][0-9]+)*`)

// stem returns a name without the versions in it.
func stem(name string) string { return digits.ReplaceAllString(name, "#") }

// inChanged returns the members of components that existed before and still do: a new
// or removed component says everything about its members.
func (c *Change) inChanged() []Delta {
	return slices.DeleteFunc(slices.Clone(c.Members), func(m Delta) bool {
		return slices.ContainsFunc(c.Components, func(d Delta) bool { return d.Name == m.Component && d.State != StateChanged })
	})
}

// of returns how a component or member of the report changed, or nil. The name of a
// member has a slash, that of a component none.
func (c *Change) of(name string) *Delta {
	if c == nil {
		return nil
	}
	for _, list := range [][]Delta{c.Components, c.Members} {
		i := slices.IndexFunc(list, func(d Delta) bool { return d.Name == name && d.State != StateGone })
		if i >= 0 {
			return &list[i]
		}
	}
	return nil
}
