package release

import (
	"fmt"
	"html/template"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// pageMap is a treemap of one shape: the page has one for wide and one for narrow
// screens.
type pageMap struct {
	Class  string
	Blocks []pageBlock
}

// pageBlock is a component in a treemap, pageCell a member.
type pageBlock struct {
	pageCell
	// Bare is true where there is no room for a heading.
	Bare  bool
	Cells []pageCell
}

type pageCell struct {
	// Place is the position in percent of what holds it, Colour the variables that
	// decide the colour.
	Place, Colour     template.CSS
	Name, Size, Title string
}

// headRoom is what the heading of a component takes, edge the border, in pixels.
const (
	headRoom = 24
	edge     = 2
	// smallest is the area in square pixels below which members are put together.
	smallest = 90
)

// treemap lays out a report on so many pixels; the page stretches it.
func treemap(r Report, class string, width, height float64) pageMap {
	m := pageMap{Class: class}
	whole := rect{W: width, H: height}
	var components []ReportComponent
	var weights []float64
	for _, c := range r.Components {
		if c.Size > 0 {
			components, weights = append(components, c), append(weights, float64(c.Size))
		}
	}
	tones := tonesOf(r)
	for i, at := range squarify(weights, whole) {
		c := components[i]
		b := pageBlock{Bare: at.W < 60 || at.H < 60}
		b.Name, b.Size, b.Place = c.Name, progress.Size(c.Size), percents(at, whole)
		b.Title = fmt.Sprintf("%s\n%s, %s of the tarball", c.Name, b.Size, percent(c.Size, r.Size))
		if d := r.Change.component(c.Name); d != nil {
			b.Title += "\n" + d.words(r.Change.Since)
		}
		b.Colour = tones[c.Name].css(0) + r.Change.tint(r.Change.component(c.Name))
		inner := at.shrink(headRoom, edge)
		if b.Bare {
			inner = at.shrink(edge, edge)
		}
		b.Cells = cells(r, c, tones[c.Name], inner)
		m.Blocks = append(m.Blocks, b)
	}
	return m
}

// cells lays out the members of a component.
func cells(r Report, c ReportComponent, tone tone, in rect) []pageCell {
	var weights []float64
	var total, rest float64
	for _, m := range c.Members {
		total += float64(m.Packed)
	}
	members := c.Members
	for i, m := range members {
		if m.Packed <= 0 || float64(m.Packed)/total*in.W*in.H < smallest {
			members = members[:i]
			break
		}
		weights = append(weights, float64(m.Packed))
	}
	others := c.Members[len(members):]
	for _, m := range others {
		rest += float64(m.Packed)
	}
	if rest/total*in.W*in.H >= smallest/4 {
		// It may be bigger than the last ones: an order that is a little wrong
		// makes rectangles a little longer.
		weights = append(weights, rest)
	}
	if in.W <= 0 || in.H <= 0 {
		return nil
	}
	local := rect{W: in.W, H: in.H}
	var all []pageCell
	for i, at := range squarify(weights, local) {
		cell := pageCell{Place: percents(at, local), Colour: tone.css(i)}
		if i < len(members) {
			m := members[i]
			d := r.Change.member(m.Name)
			cell.Name, cell.Size = path.Base(m.Name), progress.Size(m.Packed)
			cell.Title = fmt.Sprintf("%s\n%s, unpacked %s", m.Name, cell.Size, progress.Size(m.Size))
			if d != nil {
				cell.Title += "\n" + d.words(r.Change.Since)
			}
			cell.Colour += r.Change.tint(d)
		} else {
			cell.Name, cell.Size = fmt.Sprintf("%d more", len(others)), progress.Size(int64(rest))
			cell.Title = fmt.Sprintf("%d smaller files of %s\n%s", len(others), c.Name, cell.Size)
			cell.Colour += r.Change.tint(nil)
		}
		all = append(all, cell)
	}
	return all
}

// percents is the position of a rectangle in another one.
func percents(r, in rect) template.CSS {
	return template.CSS(fmt.Sprintf("left:%.3f%%;top:%.3f%%;width:%.3f%%;height:%.3f%%",
		100*(r.X-in.X)/in.W, 100*(r.Y-in.Y)/in.H, 100*r.W/in.W, 100*r.H/in.H))
}

// tone is the colour of a component: its family has the hue, so that all kernels
// look alike.
type tone struct{ hue, step int }

// css returns it as variables; further members of a component are paler.
func (t tone) css(rank int) template.CSS {
	return template.CSS(fmt.Sprintf("--h:%d;--s:%d;--r:%d;", t.hue, t.step, min(rank, 8)))
}

// tonesOf gives each component its tone. The biggest family comes first.
func tonesOf(r Report) map[string]tone {
	tones := map[string]tone{}
	var families []string
	steps := map[string]int{}
	for _, c := range r.Components {
		family, _, _ := strings.Cut(c.Name, "-")
		if !slices.Contains(families, family) {
			families = append(families, family)
		}
		// The golden angle keeps any number of hues apart.
		hue := (255 + int(137.508*float64(slices.Index(families, family)))) % 360
		tones[c.Name] = tone{hue, steps[family] % 5}
		steps[family]++
	}
	return tones
}

// component returns what became of a component, or nil.
func (c *Change) component(name string) *Delta {
	if c == nil {
		return nil
	}
	return find(c.Components, name)
}

// member returns what became of a member, or nil.
func (c *Change) member(name string) *Delta {
	if c == nil {
		return nil
	}
	return find(c.Members, name)
}

func find(all []Delta, name string) *Delta {
	if i := slices.IndexFunc(all, func(d Delta) bool { return d.Name == name && d.State != StateGone }); i >= 0 {
		return &all[i]
	}
	return nil
}

// tint returns the variables of the colour that shows growth: a hue, and how strong
// it is, in percent.
func (c *Change) tint(d *Delta) template.CSS {
	if c == nil || d == nil || d.Growth() == 0 {
		return "--g:0;--gh:0"
	}
	hue := 40
	if d.Growth() < 0 {
		hue = 245
	}
	part := float64(abs(d.Growth())) / float64(max(d.After, d.Before, 1))
	return template.CSS(fmt.Sprintf("--g:%d;--gh:%d", int(30+70*min(part*4, 1)), hue))
}

func abs(n int64) int64 { return max(n, -n) }

// words say what became of it.
func (d Delta) words(since string) string {
	switch {
	case d.State == StateNew:
		return "new since " + since
	case d.State == StateGone:
		return "gone since " + since
	case d.Was != "":
		return fmt.Sprintf("%s since %s, was %s", signed(d.Growth()), since, path.Base(d.Was))
	}
	return fmt.Sprintf("%s since %s", signed(d.Growth()), since)
}
