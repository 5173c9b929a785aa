package release

import (
	"bytes"
	_ "embed" // the page
	"fmt"
	"html/template"
	"path"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

//go:embed report.html.tmpl
var pageText string

// htmlPage is what the template shows.
type htmlPage struct {
	Report
	Title, File  string
	Total, Left  string
	Bytes        string
	LimitBytes   string
	Over         bool
	Maps         []pageMap
	Rows         []pageRow
	Since        *pageChange
	HaveBudgets  bool
	Notes        []string
	LimitPercent string
}

// pageRow is a component in the table, with its files.
type pageRow struct {
	Name, Size, Unpacked, Share, Budget, Growth, Sign string
	Colour, Bar, Segment                              template.CSS
	Over                                              bool
	Files                                             []pageFile
	More                                              int
	Count                                             int
}

type pageFile struct{ Dir, Base, Link, Size, Unpacked string }

// pageChange is what became of an earlier tarball.
type pageChange struct {
	Since, Growth, Sign, Before string
	Estimated                   bool
	Components, Members         []pageDelta
	MoreMembers                 int
}

type pageDelta struct {
	Dir, Base, Was, Component, State string
	Before, After, Growth, Sign      string
	Bar                              template.CSS
}

// How many lines the page has of each kind at most.
const (
	maxFiles   = 200
	maxChanged = 100
)

// HTML returns the report as one page, which loads nothing from anywhere. It
// depends on nothing but the report.
func (r Report) HTML() ([]byte, error) {
	t, err := template.New("report").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("parsing the page: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, r.page()); err != nil {
		return nil, fmt.Errorf("writing the page: %w", err)
	}
	return out.Bytes(), nil
}

func (r Report) page() htmlPage {
	p := htmlPage{
		Report: r, File: MergedFile(r.Set), Title: fmt.Sprintf("%s %s on %s", mergedName(r.Set), r.Version, r.Arch),
		Total: fine(r.Size), Bytes: grouped(r.Size), LimitBytes: grouped(r.Limit), Over: r.Size >= r.Limit, LimitPercent: percent(r.Size, r.Limit),
		Maps:  []pageMap{treemap(r, "wide", 1100, 600), treemap(r, "narrow", 360, 560)},
		Notes: r.notes(),
	}
	p.Left = progress.Size(max(r.Limit-1-r.Size, r.Size-r.Limit+1))
	tones := tonesOf(r)
	var biggest int64
	if len(r.Components) > 0 {
		biggest = r.Components[0].Size
	}
	for _, c := range r.Components {
		row := pageRow{
			Name: c.Name, Size: progress.Size(c.Size), Unpacked: progress.Size(c.Unpacked), Share: percent(c.Size, r.Size),
			Colour: tones[c.Name].css(0), Bar: width(c.Size, biggest), Segment: width(c.Size, max(r.Limit, r.Size)),
			Over: c.Over(), Count: len(c.Members),
		}
		if c.Budget > 0 {
			row.Budget, p.HaveBudgets = progress.Size(c.Budget), true
		}
		if d := r.Change.component(c.Name); d != nil {
			row.Growth, row.Sign = d.growth(), sign(d.Growth())
		}
		for _, m := range c.Members[:min(len(c.Members), maxFiles)] {
			dir, base := path.Split(below(m.Name))
			row.Files = append(row.Files, pageFile{dir, base, m.Link, progress.Size(m.Packed), progress.Size(m.Size)})
		}
		row.More = len(c.Members) - len(row.Files)
		p.Rows = append(p.Rows, row)
	}
	p.Since = r.Change.page()
	return p
}

func (c *Change) page() *pageChange {
	if c == nil {
		return nil
	}
	p := &pageChange{
		Since: c.Since, Growth: signed(c.After - c.Before), Sign: sign(c.After - c.Before), Before: fine(c.Before),
		Estimated: c.Estimated, Components: pageDeltas(c.Components),
	}
	members := c.inChanged()
	all := len(members)
	if all > maxChanged {
		// What grew most and what shrank most: both ends.
		members = append(members[:maxChanged/2:maxChanged/2], members[len(members)-maxChanged/2:]...)
	}
	p.Members, p.MoreMembers = pageDeltas(members), all-len(members)
	return p
}

func pageDeltas(deltas []Delta) []pageDelta {
	var most int64
	for _, d := range deltas {
		most = max(most, abs(d.Growth()))
	}
	var all []pageDelta
	for _, d := range deltas {
		p := pageDelta{
			Base: d.Name, Component: d.Component, State: d.State, Before: progress.Size(d.Before), After: progress.Size(d.After),
			Growth: signed(d.Growth()), Sign: sign(d.Growth()), Bar: width(abs(d.Growth()), most),
		}
		if d.Component != "" || strings.Contains(d.Name, "/") {
			p.Dir, p.Base = path.Split(below(d.Name))
		}
		switch d.State {
		case StateNew:
			p.Before = "–"
		case StateGone:
			p.After = "–"
		}
		if d.Was != "" {
			p.Was = path.Base(d.Was)
		}
		all = append(all, p)
	}
	return all
}

// growth is what a table says of it.
func (d Delta) growth() string {
	if d.State == StateNew {
		return StateNew
	}
	return signed(d.Growth())
}

func sign(n int64) string {
	switch {
	case n > 0:
		return "up"
	case n < 0:
		return "down"
	}
	return "same"
}

// below is a path as people name it, from /opt/kata on.
func below(name string) string {
	if short, is := strings.CutPrefix(name, "opt/kata/"); is {
		return short
	}
	return "/" + name
}

// fine is a size with two digits where the whole ones are few.
func fine(n int64) string {
	if n < 1<<30 {
		return progress.Size(n)
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

// grouped writes a number for a person: "2,147,483,648".
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func width(part, whole int64) template.CSS {
	return template.CSS(fmt.Sprintf("width:%.3f%%", 100*float64(part)/float64(max(whole, 1))))
}

// notes are what a reader must know to take the figures for what they are.
func (r Report) notes() []string {
	var notes []string
	for _, name := range r.Missing {
		notes = append(notes, name+" is missing: it was left out, and the release will be bigger by it.")
	}
	notes = append(notes, r.OverBudget()...)
	var reframed []string
	for _, c := range r.Components {
		if c.Reframed {
			reframed = append(reframed, c.Name)
		}
		if c.Shared > 0 {
			notes = append(notes, fmt.Sprintf("%d files of %s are in another component too, the same: they are shipped once.", c.Shared, c.Name))
		}
	}
	if len(reframed) > 0 {
		notes = append(notes, "Without an index, and so compressed once more: "+strings.Join(reframed, ", ")+".")
	}
	if r.Change != nil && r.Change.Estimated {
		notes = append(notes, r.Change.Since+" has no index: what its files take of it is estimated.")
	}
	return notes
}
