package sizes

import (
	"bytes"
	_ "embed" // the page
	"fmt"
	"html/template"
	"path"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

//go:embed report.html.tmpl
var pageText string

// How many lines of each kind the page has at most.
const (
	maxFiles   = 200
	maxChanged = 100
)

// page is the data of the template: the report, and what a template could not easily
// compute.
type page struct {
	Report
	File  string
	Maps  []pageMap
	Notes []string
	// Changed are the members that the page lists, MoreChanged counts the others.
	Changed     []Delta
	MoreChanged int
}

// HTML returns the report as one page, which loads nothing from anywhere.
func (r Report) HTML() ([]byte, error) {
	t, err := template.New("report").Funcs(r.functions()).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("parsing the page: %w", err)
	}
	p := page{
		Report: r, File: MergedName(r.Set) + ".tar.zst", Notes: r.notes(),
		Maps: []pageMap{treemap(r, "wide", 1100, 600), treemap(r, "narrow", 360, 560)},
	}
	if r.Change != nil {
		p.Changed, p.MoreChanged = ends(r.Change.inChanged(), maxChanged)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("writing the page: %w", err)
	}
	return out.Bytes(), nil
}

// ends returns at most n of the deltas, what grew most and what shrank most, and how
// many it leaves out.
func ends(all []Delta, n int) (some []Delta, more int) {
	if len(all) <= n {
		return all, 0
	}
	return slices.Concat(all[:n/2], all[len(all)-n/2:]), len(all) - n
}

// functions are those of the template.
func (r Report) functions() template.FuncMap {
	tones := tonesOf(r)
	return template.FuncMap{
		"size": progress.Size, "fine": fine, "grouped": grouped, "signed": signed, "percent": percent, "sign": sign, "width": width,
		"merged": MergedName, "below": below,
		"dir":   func(name string) string { dir, _ := path.Split(name); return dir },
		"base":  path.Base,
		"tone":  func(component string) template.CSS { return tones[component].css(0) },
		"left":  func() int64 { return max(r.Limit-1-r.Size, r.Size-r.Limit+1) },
		"over":  func() bool { return r.Size >= r.Limit },
		"whole": func() int64 { return max(r.Limit, r.Size) },
		"biggest": func() int64 {
			if len(r.Components) == 0 {
				return 0
			}
			return r.Components[0].Size
		},
		"budgets": func() bool { return slices.ContainsFunc(r.Components, func(c Component) bool { return c.Budget > 0 }) },
		"change":  r.Change.of,
		"first":   func(members []Member) []Member { return members[:min(len(members), maxFiles)] },
		"more":    func(members []Member) int { return len(members) - min(len(members), maxFiles) },
		"most": func(deltas []Delta) (most int64) {
			for _, d := range deltas {
				most = max(most, abs(d.Growth()))
			}
			return most
		},
		"abs": abs,
	}
}

// sign is the class of a difference.
func sign(n int64) string {
	switch {
	case n > 0:
		return "up"
	case n < 0:
		return "down"
	}
	return "same"
}

func abs(n int64) int64 { return max(n, -n) }

func width(part, whole int64) template.CSS {
	return template.CSS(fmt.Sprintf("width:%.3f%%", 100*float64(part)/float64(max(whole, 1))))
}

// BeforeSize writes the earlier share of a delta, or a dash if it is new.
func (d Delta) BeforeSize() string { return d.sizeUnless(StateNew, d.Before) }

// AfterSize writes the share of a delta now, or a dash if it is gone.
func (d Delta) AfterSize() string { return d.sizeUnless(StateGone, d.After) }

func (d Delta) sizeUnless(state string, n int64) string {
	if d.State == state {
		return "–"
	}
	return progress.Size(n)
}

// words describe the change for a person.
func (d Delta) words(since string) string {
	switch {
	case d.State == StateNew:
		return "new since " + since
	case d.Was != "":
		return fmt.Sprintf("%s since %s, was %s", signed(d.Growth()), since, path.Base(d.Was))
	}
	return fmt.Sprintf("%s since %s", signed(d.Growth()), since)
}
