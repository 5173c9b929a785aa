// Package sizes says what takes up the bytes of a merged tarball. A Report is a value
// made only from the plan of a merge. It is checked against the limit of GitHub and the
// budgets of the catalog, compared with an earlier release, and written as JSON,
// Markdown or one HTML page.
//
// A Report knows nothing of where components come from, and nothing is merged or
// published here: package release does that.
package sizes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// reportFormat is raised when older programs would misread a report.
const reportFormat = 1

// Report is what a merged tarball is made of. Its JSON is published with the release,
// so that the next one can be compared with it.
type Report struct {
	Format  int          `json:"format"`
	Set     string       `json:"set"`
	Arch    catalog.Arch `json:"arch"`
	Version string       `json:"version"`
	// Size is the exact length of the tarball, Unpacked the size of its files, and
	// Limit what Size must stay below, all in bytes.
	Size     int64 `json:"size"`
	Unpacked int64 `json:"unpacked"`
	Limit    int64 `json:"limit"`
	// Own is what the merge adds: directories, VERSION, versions.yaml, the index.
	Own int64 `json:"own"`
	// Components are sorted by size, the biggest first.
	Components []Component `json:"components"`
	// Missing are the components of the set that were left out.
	Missing []string `json:"missing,omitempty"`
	// Change compares with an earlier release.
	Change *Change `json:"change,omitempty"`

	// estimated is true if the shares of members are estimates: see Read.
	estimated bool
}

// Component is an asset in a merged tarball.
type Component struct {
	Name string `json:"name"`
	// Size is its share of the tarball, Unpacked the size of its files, and Budget
	// the most that Size may be (0: anything), all in bytes.
	Size     int64 `json:"size"`
	Unpacked int64 `json:"unpacked"`
	Budget   int64 `json:"budget,omitempty"`
	// BudgetPos says where the budget is declared.
	BudgetPos string `json:"budgetPos,omitempty"`
	// Reframed is true if the component's tarball had no index and was compressed
	// again.
	Reframed bool `json:"reframed,omitempty"`
	// Members are the files and links, the biggest share first.
	Members []Member `json:"members"`
}

// Member is a file or a link.
type Member struct {
	// Name is the path in the tarball without "./".
	Name string `json:"name"`
	// Size is the size of the file and Packed its share of the tarball, in bytes:
	// exact for big files, divided among small ones that were compressed together.
	Size   int64  `json:"size"`
	Packed int64  `json:"packed"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
}

// Over reports whether a component exceeds its budget.
func (c Component) Over() bool { return c.Budget > 0 && c.Size > c.Budget }

// Merge describes the merge that a report is about.
type Merge struct {
	Set     string
	Arch    catalog.Arch
	Version string
	// Catalog has the budgets of the components.
	Catalog *catalog.Catalog
	// Limit is what the tarball must stay below in bytes, 0 for GitHub's limit.
	Limit int64
	// Missing are the components of the set that were left out.
	Missing []string
}

// Of returns the report of a planned merge.
func Of(m Merge, merged *archive.Merged) Report {
	r := Report{
		Format: reportFormat, Set: m.Set, Arch: m.Arch, Version: m.Version,
		Size: merged.Size, Limit: cmp.Or(m.Limit, Limit), Own: merged.Own, Missing: m.Missing,
		Components: []Component{},
	}
	for _, member := range merged.Index.Members() {
		if !member.Mode.IsDir() {
			r.Unpacked += member.Size
		}
	}
	for _, part := range merged.Parts {
		c := Component{Name: part.Name, Size: part.Size, Reframed: part.Reframed, Members: membersOf(part.Members)}
		if asset, err := m.Catalog.Find(part.Name, m.Arch); err == nil && asset.Budget > 0 {
			c.Budget, c.BudgetPos = int64(asset.Budget), asset.Pos
		}
		for _, member := range c.Members {
			c.Unpacked += member.Size
		}
		r.Components = append(r.Components, c)
	}
	slices.SortStableFunc(r.Components, func(a, b Component) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Name, b.Name))
	})
	return r
}

// membersOf leaves out directories, which belong to no component.
func membersOf(sized []archive.Sized) []Member {
	members := []Member{}
	for _, s := range sized {
		if !s.Mode.IsDir() {
			members = append(members, Member{
				Name: strings.TrimPrefix(s.Name, "./"), Size: s.Size, Packed: s.Packed, SHA256: s.SHA256, Link: s.Link,
			})
		}
	}
	slices.SortStableFunc(members, bySize)
	return members
}

func bySize(a, b Member) int {
	return cmp.Or(cmp.Compare(b.Packed, a.Packed), strings.Compare(a.Name, b.Name))
}

// Owned is a member with the name of its component.
type Owned struct {
	Member
	Component string
}

func (r Report) owned() []Owned {
	var all []Owned
	for _, c := range r.Components {
		for _, m := range c.Members {
			all = append(all, Owned{m, c.Name})
		}
	}
	return all
}

// Biggest returns the n members of all components that take the most.
func (r Report) Biggest(n int) []Owned {
	all := r.owned()
	slices.SortStableFunc(all, func(a, b Owned) int { return bySize(a.Member, b.Member) })
	return all[:min(n, len(all))]
}

// MergedName returns the name of the tarball of a release set, without the version and
// the ending: "kata-static", "kata-tools-static".
func MergedName(set string) string { return strings.TrimSuffix(set, "-static") + "-static" }

// CheckNames refuses files that Write could not write, before any work.
func CheckNames(paths []string) error {
	for _, path := range paths {
		if !slices.Contains([]string{".json", ".md", ".html"}, filepath.Ext(path)) {
			return fmt.Errorf("report %s: want a name that ends with .json, .md or .html", path)
		}
	}
	return nil
}

// Write writes the report to files, each of the kind that its name says.
func (r Report) Write(paths []string) error {
	for _, path := range paths {
		text, err := r.content(filepath.Ext(path))
		if err == nil {
			err = files.Write(path, text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}

func (r Report) content(kind string) ([]byte, error) {
	switch kind {
	case ".md":
		return []byte(r.Markdown()), nil
	case ".html":
		return r.HTML()
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(r)
	return text.Bytes(), err
}
