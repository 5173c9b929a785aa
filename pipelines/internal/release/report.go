package release

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// reportFormat is raised where older programs would misread a report.
const reportFormat = 1

// Report says what takes up the bytes of a merged tarball. Its JSON is also what
// the report of the next release can be compared with.
type Report struct {
	Format  int          `json:"format"`
	Set     string       `json:"set"`
	Arch    catalog.Arch `json:"arch"`
	Version string       `json:"version"`
	// Size is the exact length of the tarball, Unpacked that of the files in it,
	// Limit what Size must stay below, all in bytes.
	Size     int64 `json:"size"`
	Unpacked int64 `json:"unpacked"`
	Limit    int64 `json:"limit"`
	// Own is the share of what the merge adds: directories, VERSION, versions.yaml,
	// the index.
	Own int64 `json:"own"`
	// Components are sorted by size, the biggest first.
	Components []ReportComponent `json:"components"`
	// Missing are the components of the set that were left out.
	Missing []string `json:"missing,omitempty"`
	// Change compares with an earlier release.
	Change *Change `json:"change,omitempty"`
}

// ReportComponent is an asset in a merged tarball.
type ReportComponent struct {
	Name string `json:"name"`
	// Size is its share of the tarball, Unpacked the size of its files, Budget what
	// Size may be, 0 for any, all in bytes.
	Size     int64 `json:"size"`
	Unpacked int64 `json:"unpacked"`
	Budget   int64 `json:"budget,omitempty"`
	// BudgetPos says where the budget is declared.
	BudgetPos string `json:"budgetPos,omitempty"`
	// Reframed is true where the component's tarball had no index and was written
	// once more.
	Reframed bool `json:"reframed,omitempty"`
	// Shared is how many files an earlier component has, the same.
	Shared int `json:"shared,omitempty"`
	// Members are the files and links, the biggest share first.
	Members []ReportMember `json:"members"`
}

// ReportMember is a file or a link.
type ReportMember struct {
	// Name is that in the tarball without "./".
	Name string `json:"name"`
	// Size is that of the file, Packed its share of the tarball, in bytes: exact
	// for big files, divided among small ones that were compressed together.
	Size   int64  `json:"size"`
	Packed int64  `json:"packed"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
}

// Over tells whether a component is over its budget.
func (c ReportComponent) Over() bool { return c.Budget > 0 && c.Size > c.Budget }

// report tells what a planned merge is made of.
func (m Merge) report(merged *archive.Merged) Report {
	r := Report{
		Format: reportFormat, Set: m.Set, Arch: m.Arch, Version: m.Version,
		Size: merged.Size, Limit: cmp.Or(m.Limit, Limit), Own: merged.Own, Missing: m.Missing,
		Components: []ReportComponent{},
	}
	for _, part := range merged.Parts {
		budget := m.Budgets[part.Name]
		c := ReportComponent{
			Name: part.Name, Size: part.Size, Budget: budget.Size, BudgetPos: budget.Pos,
			Reframed: part.Reframed, Shared: len(part.Shared), Members: reportMembers(part.Members),
		}
		for _, member := range c.Members {
			c.Unpacked += member.Size
		}
		r.Unpacked += c.Unpacked
		r.Components = append(r.Components, c)
	}
	r.Unpacked += int64(len(m.Version) + 1 + len(m.Pins))
	slices.SortStableFunc(r.Components, func(a, b ReportComponent) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Name, b.Name))
	})
	return r
}

// reportMembers leaves out directories, which belong to no component.
func reportMembers(sized []archive.Sized) []ReportMember {
	members := []ReportMember{}
	for _, s := range sized {
		if s.Mode.IsDir() {
			continue
		}
		members = append(members, ReportMember{
			Name: strings.TrimPrefix(s.Name, "./"), Size: s.Size, Packed: s.Packed, SHA256: s.SHA256, Link: s.Link,
		})
	}
	slices.SortStableFunc(members, func(a, b ReportMember) int {
		return cmp.Or(cmp.Compare(b.Packed, a.Packed), strings.Compare(a.Name, b.Name))
	})
	return members
}

// Biggest returns the n members that take the most, of all components, with the
// names of these.
func (r Report) Biggest(n int) []Owned {
	var all []Owned
	for _, c := range r.Components {
		for _, m := range c.Members[:min(n, len(c.Members))] {
			all = append(all, Owned{m, c.Name})
		}
	}
	slices.SortStableFunc(all, func(a, b Owned) int {
		return cmp.Or(cmp.Compare(b.Packed, a.Packed), strings.Compare(a.Name, b.Name))
	})
	return all[:min(n, len(all))]
}

// Owned is a member with the name of its component.
type Owned struct {
	ReportMember
	Component string
}

// Share writes a number of bytes as a part of the tarball: "41.9%".
func (r Report) Share(size int64) string { return percent(size, r.Size) }

// LimitShare writes the size as a part of the limit.
func (r Report) LimitShare() string { return percent(r.Size, r.Limit) }

// Growth writes what became of a component, or with "" of the tarball; it is "" where
// nothing did, or there is nothing to compare with.
func (r Report) Growth(component string) string {
	if r.Change == nil {
		return ""
	}
	if component == "" {
		return signed(r.Change.After - r.Change.Before)
	}
	if d := r.Change.component(component); d != nil {
		return d.growth()
	}
	return ""
}
