package graph

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// style reads on light and on dark ground: boxes bring their own ground, what
// stands between them has a tone that contrasts with both.
const style = `  <style>
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328 }
    .stage { font-size: 12px; fill: #6e7781 }
    .box rect { fill: #eaf1fb; stroke: #4a76c9; stroke-width: 1.2 }
    .edge { fill: none; stroke-width: 1.4 }
    .edge:hover { stroke-width: 3 }
  </style>
`

// tones are the colours of the edges, one for all that leave a box, so that the
// eye can follow them. Each contrasts with white and with black.
var tones = []string{"#4a76c9", "#c2571a", "#2e8b57", "#9a5fc0", "#a87b12", "#c74375", "#2b8a9e", "#77818c"}

// SVG returns the graph as a picture that needs nothing else: a column for each
// stage, from left to right.
func (g *Graph) SVG() string {
	var out strings.Builder
	d := g.layoutOrEmpty()
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n",
		pixels(d.width), pixels(d.height))
	fmt.Fprintf(&out, "  <title>%s</title>\n%s", escape(count(len(g.Nodes), "asset", "assets")+" and what they depend on"), style)
	edges := g.Edges()
	tone := d.tones(edges)
	heads(&out, len(tone))
	for i := range d.columns {
		fmt.Fprintf(&out, `  <text class="stage" x="%d" y="%d" text-anchor="middle">stage %d</text>`+"\n",
			pixels(d.x[i]+d.widths[i]/2), margin+12, i+1)
	}
	for _, edge := range edges {
		n := tone[edge.From]
		fmt.Fprintf(&out, `  <path class="edge" stroke="%s" marker-end="url(#head%d)" d="%s"><title>%s</title></path>`+"\n",
			tones[n], n, d.path(edge), escape(edge.To+" depends on "+edge.From))
	}
	for _, node := range g.Nodes {
		d.box(&out, g, node)
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// tones gives each box that edges leave the index of a colour, by column from
// the top down, so that neighbours differ.
func (d *drawing) tones(edges []Edge) map[string]int {
	tone := map[string]int{}
	for _, column := range d.columns {
		for _, c := range column {
			if c.node != nil && slices.ContainsFunc(edges, func(e Edge) bool { return e.From == c.node.Name }) {
				tone[c.node.Name] = len(tone) % len(tones)
			}
		}
	}
	return tone
}

// heads defines the arrow heads of the first n tones.
func heads(out *strings.Builder, n int) {
	for i, tone := range tones[:min(n, len(tones))] {
		fmt.Fprintf(out, `  <marker id="head%d" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="9" orient="auto">`+
			`<path fill="%s" d="M0 0.5 8 4 0 7.5z"/></marker>`+"\n", i, tone)
	}
}

// layoutOrEmpty lays a graph out; one without nodes is a small empty picture.
func (g *Graph) layoutOrEmpty() *drawing {
	if len(g.Nodes) == 0 {
		return &drawing{width: 2 * margin, height: 2 * margin}
	}
	return g.layout()
}

// point is a place in pixels.
type point struct{ x, y int }

// points are the corners of an edge: the sides of the columns it comes from,
// crosses and goes to. The parts at odd places, between columns, are curves.
func (d *drawing) points(edge Edge) []point {
	from, to := d.boxes[edge.From], d.boxes[edge.To]
	points := []point{{d.right(from.column), pixels(from.y)}}
	for i := from.column + 1; i < to.column; i++ {
		lane := d.lanes[edge.From][i-from.column-1]
		points = append(points, point{pixels(d.x[i]), pixels(lane.y)}, point{d.right(i), pixels(lane.y)})
	}
	return append(points, point{pixels(d.x[to.column]), pixels(to.y)})
}

func (d *drawing) right(column int) int { return pixels(d.x[column] + d.widths[column]) }

// path draws an edge: curves with level ends, which stay between the columns,
// and level lines through the lanes.
func (d *drawing) path(edge Edge) string {
	points := d.points(edge)
	var out strings.Builder
	fmt.Fprintf(&out, "M%d %d", points[0].x, points[0].y)
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if i%2 == 0 || a.y == b.y {
			fmt.Fprintf(&out, "H%d", b.x)
			continue
		}
		middle := (a.x + b.x) / 2
		fmt.Fprintf(&out, "C%d %d %d %d %d %d", middle, a.y, middle, b.y, b.x, b.y)
	}
	return out.String()
}

func (d *drawing) box(out *strings.Builder, g *Graph, node Node) {
	c := d.boxes[node.Name]
	x, width := pixels(d.x[c.column]), pixels(d.widths[c.column])
	fmt.Fprintf(out, `  <g class="box"><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="6"/>`,
		escape(g.describe(node)), x, pixels(c.y)-boxHeight/2, width, boxHeight)
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="middle">%s</text></g>`+"\n", x+width/2, pixels(c.y)+4, escape(node.Name))
}

// describe says in words what the edges of a box say.
func (g *Graph) describe(node Node) string {
	text := node.Name
	if len(node.Dependencies) > 0 {
		text += "; depends on " + strings.Join(node.Dependencies, ", ")
	}
	var needers []string
	for _, other := range g.Nodes {
		if slices.Contains(other.Dependencies, node.Name) {
			needers = append(needers, other.Name)
		}
	}
	if len(needers) > 0 {
		text += "; needed by " + strings.Join(needers, ", ")
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func pixels(f float64) int { return int(math.Round(f)) }

// escape writes text for XML.
func escape(text string) string {
	var out strings.Builder
	// A strings.Builder takes everything.
	_ = xml.EscapeText(&out, []byte(text))
	return out.String()
}
