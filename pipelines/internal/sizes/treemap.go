package sizes

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
	// Bare is true if there is no room for a heading.
	Bare  bool
	Cells []pageCell
}

type pageCell struct {
	// Place is the position in percent of the enclosing rectangle, Colour the
	// variables that decide the colour.
	Place, Colour     template.CSS
	Name, Size, Title string
}

const (
	// headRoom is the height of a component's heading, edge its border, in pixels.
	headRoom = 24
	edge     = 2
	// smallest is the area in square pixels below which members share a cell.
	smallest = 90
)

// treemap lays out a report on a number of pixels; the page stretches it.
func treemap(r Report, class string, width, height float64) pageMap {
	m := pageMap{Class: class}
	whole := rect{W: width, H: height}
	components := slices.DeleteFunc(slices.Clone(r.Components), func(c Component) bool { return c.Size <= 0 })
	var weights []float64
	for _, c := range components {
		weights = append(weights, float64(c.Size))
	}
	tones := tonesOf(r)
	for i, at := range divide(weights, whole) {
		c := components[i]
		b := pageBlock{Bare: at.W < 60 || at.H < 60}
		b.Name, b.Size, b.Place = c.Name, progress.Size(c.Size), at.in(whole)
		b.Title = fmt.Sprintf("%s\n%s, %s of the tarball", c.Name, b.Size, r.Share(c.Size))
		b.Colour = tones[c.Name].css(0)
		b.show(r.Change, r.Change.of(c.Name))
		inner := at.shrink(headRoom, edge)
		if b.Bare {
			inner = at.shrink(edge, edge)
		}
		b.Cells = cells(r, c, tones[c.Name], inner)
		m.Blocks = append(m.Blocks, b)
	}
	return m
}

// cells lays out the members of a component. The small ones share a cell.
func cells(r Report, c Component, tone tone, in rect) []pageCell {
	if in.W <= 0 || in.H <= 0 {
		return nil
	}
	var total, rest int64
	for _, m := range c.Members {
		total += m.Packed
	}
	area := func(packed int64) float64 { return float64(packed) / float64(total) * in.W * in.H }
	var weights []float64
	var all []pageCell
	for _, m := range c.Members {
		if m.Packed <= 0 || area(m.Packed) < smallest {
			rest += m.Packed
			continue
		}
		cell := pageCell{Name: path.Base(m.Name), Size: progress.Size(m.Packed), Colour: tone.css(len(all))}
		cell.Title = fmt.Sprintf("%s\n%s, unpacked %s", m.Name, cell.Size, progress.Size(m.Size))
		cell.show(r.Change, r.Change.of(m.Name))
		weights, all = append(weights, float64(m.Packed)), append(all, cell)
	}
	if area(rest) >= smallest/4 {
		// This cell may be bigger than the ones before it, which only makes rectangles
		// a little longer.
		others := len(c.Members) - len(all)
		cell := pageCell{Name: fmt.Sprintf("%d more", others), Size: progress.Size(rest), Colour: tone.css(len(all))}
		cell.Title = fmt.Sprintf("%d smaller files of %s\n%s", others, c.Name, cell.Size)
		cell.show(r.Change, nil)
		weights, all = append(weights, float64(rest)), append(all, cell)
	}
	local := rect{W: in.W, H: in.H}
	for i, at := range divide(weights, local) {
		all[i].Place = at.in(local)
	}
	return all
}

// show adds how something changed to its title and its colour: a hue, and its strength
// in percent.
func (c *pageCell) show(change *Change, d *Delta) {
	if d != nil {
		c.Title += "\n" + d.words(change.Since)
	}
	if d == nil || d.Growth() == 0 {
		c.Colour += "--g:0;--gh:0"
		return
	}
	hue := 40
	if d.Growth() < 0 {
		hue = 245
	}
	part := float64(abs(d.Growth())) / float64(max(d.After, d.Before, 1))
	c.Colour += template.CSS(fmt.Sprintf("--g:%d;--gh:%d", int(30+70*min(part*4, 1)), hue))
}

// tone is the colour of a component. Its family decides the hue, so that all kernels
// look alike.
type tone struct{ hue, step int }

// css returns it as variables; further members of a component are paler.
func (t tone) css(rank int) template.CSS {
	return template.CSS(fmt.Sprintf("--h:%d;--s:%d;--r:%d;", t.hue, t.step, min(rank, 8)))
}

// tonesOf gives each component its tone. The biggest family comes first.
func tonesOf(r Report) map[string]tone {
	tones := map[string]tone{}
	hues, steps := map[string]int{}, map[string]int{}
	for _, c := range r.Components {
		family, _, _ := strings.Cut(c.Name, "-")
		if _, known := hues[family]; !known {
			// The golden angle keeps any number of hues apart.
			hues[family] = (255 + int(137.508*float64(len(hues)))) % 360
		}
		tones[c.Name] = tone{hues[family], steps[family] % 5}
		steps[family]++
	}
	return tones
}

// rect is a rectangle, in any unit.
type rect struct{ X, Y, W, H float64 }

func (r rect) shrink(top, others float64) rect {
	return rect{r.X + others, r.Y + top, max(r.W-2*others, 0), max(r.H-top-others, 0)}
}

// in returns the position within another rectangle, in percent of it.
func (r rect) in(outer rect) template.CSS {
	return template.CSS(fmt.Sprintf("left:%.3f%%;top:%.3f%%;width:%.3f%%;height:%.3f%%",
		100*(r.X-outer.X)/outer.W, 100*(r.Y-outer.Y)/outer.H, 100*r.W/outer.W, 100*r.H/outer.H))
}

// divide divides a rectangle into one for each weight, with areas in the same
// proportions: it splits the weights into two halves, cuts the rectangle across its
// longer side, and goes on with both. The weights are positive and sorted, the biggest
// first, so that the halves hardly differ and the rectangles are nearly square.
func divide(weights []float64, in rect) []rect {
	switch len(weights) {
	case 0:
		return nil
	case 1:
		return []rect{in}
	}
	var total float64
	for _, w := range weights {
		total += w
	}
	n, half := 1, weights[0]
	for n < len(weights)-1 && half+weights[n]/2 < total/2 {
		half += weights[n]
		n++
	}
	first, second := in, in
	if in.W >= in.H {
		first.W *= half / total
		second.X, second.W = in.X+first.W, in.W-first.W
	} else {
		first.H *= half / total
		second.Y, second.H = in.Y+first.H, in.H-first.H
	}
	return append(divide(weights[:n], first), divide(weights[n:], second)...)
}
