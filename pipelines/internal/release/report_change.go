package release

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Change is what became of a tarball since an earlier one.
type Change struct {
	// Since names the earlier one: its version, or the file that was read.
	Since string `json:"since"`
	// Before and After are the sizes of the tarballs in bytes. A listing does not say
	// what the merge itself had added: that is then taken to be as much as now.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Estimated is true where the earlier one has no index: what its members take is
	// then taken to be the same part of each.
	Estimated bool `json:"estimated,omitempty"`
	// Components are those whose share is another, what grew most first; Members
	// likewise, where the content is another.
	Components []Delta `json:"components"`
	Members    []Delta `json:"members"`
}

// Delta is a component or a member that changed.
type Delta struct {
	Name string `json:"name"`
	// Was is the earlier name of a member that has another version in it now.
	Was string `json:"was,omitempty"`
	// Component is that of a member, "" for one that nothing is known of.
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

// Growth is the difference in bytes, below zero for what shrank.
func (d Delta) Growth() int64 { return d.After - d.Before }

// Compare sets Change to what became of an earlier tarball. A report of another set
// or architecture is an error.
func (r *Report) Compare(previous *Previous) error {
	if p := previous.report; p != nil && (p.Set != r.Set || p.Arch != r.Arch) {
		return fmt.Errorf("the previous report is of %s on %s, and this one of %s on %s: compare with one of the same", p.Set, p.Arch, r.Set, r.Arch)
	}
	before := previous.components(*r)
	change := &Change{
		Since: previous.Name, Before: previous.size(r.Own, before), After: r.Size, Estimated: previous.Estimated,
		Components: []Delta{}, Members: []Delta{},
	}
	for _, c := range r.Components {
		i := slices.IndexFunc(before, func(b ReportComponent) bool { return b.Name == c.Name })
		if i < 0 {
			change.Components = append(change.Components, Delta{Name: c.Name, State: StateNew, After: c.Size})
			change.Members = append(change.Members, deltas(c.Name, nil, c.Members)...)
			continue
		}
		members := deltas(c.Name, before[i].Members, c.Members)
		// A size that is estimated is another one even where nothing changed.
		if c.Size != before[i].Size && (len(members) > 0 || !previous.Estimated) {
			change.Components = append(change.Components, Delta{Name: c.Name, State: StateChanged, Before: before[i].Size, After: c.Size})
		}
		change.Members = append(change.Members, members...)
	}
	for _, b := range before {
		if slices.ContainsFunc(r.Components, func(c ReportComponent) bool { return c.Name == b.Name }) {
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
	sortDeltas(change.Components)
	sortDeltas(change.Members)
	r.Change = change
	return nil
}

func sortDeltas(all []Delta) {
	slices.SortStableFunc(all, func(a, b Delta) int {
		return cmp.Or(cmp.Compare(b.Growth(), a.Growth()), strings.Compare(a.Name, b.Name))
	})
}

// deltas pairs the members of a component by name, and those that are left by name
// without version, where that is clear.
func deltas(component string, before, after []ReportMember) []Delta {
	var all []Delta
	was := map[string]ReportMember{}
	for _, m := range before {
		was[m.Name] = m
	}
	var added []ReportMember
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
	gone := map[string][]ReportMember{}
	for _, m := range before {
		if _, left := was[m.Name]; left {
			gone[stem(m.Name)] = append(gone[stem(m.Name)], m)
		}
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
	for _, m := range before {
		if _, left := was[m.Name]; left {
			all = append(all, Delta{Name: m.Name, Component: component, State: StateGone, Before: m.Packed})
		}
	}
	return all
}

// differs compares contents. What a small file takes depends on those that were
// compressed with it, so that another share alone means nothing.
func (m ReportMember) differs(old ReportMember) bool {
	return m.Size != old.Size || m.SHA256 != old.SHA256 || m.Link != old.Link
}

var digits = regexp.MustCompile(`[0-9]+([._+~-][0-9]+)*`)

// stem is a name without the versions in it.
func stem(name string) string { return digits.ReplaceAllString(name, "#") }

// owners knows which component a path belongs to, by what a report has. A key that
// two components have belongs to none: it has the value "".
type owners map[string]string

func (o owners) add(key, component string) {
	if known, there := o[key]; there && known != component {
		component = ""
	}
	o[key] = component
}

// ownersOf returns the owners of names, stems and folders of a report.
func ownersOf(r Report) owners {
	o := owners{}
	for _, c := range r.Components {
		for _, m := range c.Members {
			o.add("name "+m.Name, c.Name)
			o.add("stem "+stem(m.Name), c.Name)
			for dir := path.Dir(m.Name); dir != "."; dir = path.Dir(dir) {
				o.add("dir "+dir, c.Name)
			}
		}
	}
	return o
}

// of returns the component that a path most likely belonged to, or "".
func (o owners) of(name string) string {
	if c := cmp.Or(o["name "+name], o["stem "+stem(name)]); c != "" {
		return c
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if c, known := o["dir "+dir]; known {
			return c
		}
	}
	return ""
}

// describe says what grew, for an error.
func (c *Change) describe(text *strings.Builder) {
	fmt.Fprintf(text, "\nsince %s, of %s (%s):", c.Since, progress.Size(c.Before), signed(c.After-c.Before))
	grown := 0
	for _, list := range [][]Delta{c.Components, c.inChanged()} {
		for i, d := range list {
			if d.Growth() <= 0 || i == maxGrown {
				break
			}
			grown++
			fmt.Fprintf(text, "\n  %10s  %s%s", signed(d.Growth()), d.Name, d.note())
		}
	}
	if grown == 0 {
		text.WriteString("\n  nothing grew")
	}
}

// note says where a member is from and what became of it.
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

// signed writes a difference: "+1.5 MiB", "−20 B".
func signed(n int64) string {
	switch {
	case n < 0:
		return "−" + progress.Size(-n)
	case n == 0:
		return "±0 B"
	}
	return "+" + progress.Size(n)
}

// inChanged returns the members of components that were and are there: of others
// the component says it all.
func (c *Change) inChanged() []Delta {
	var members []Delta
	for _, m := range c.Members {
		whole := slices.ContainsFunc(c.Components, func(d Delta) bool { return d.Name == m.Component && d.State != StateChanged })
		if !whole {
			members = append(members, m)
		}
	}
	return members
}
