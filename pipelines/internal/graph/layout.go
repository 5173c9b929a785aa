package graph

import (
	"cmp"
	"math"
	"slices"
	"unicode/utf8"
)

// Measures of the drawing, in pixels.
const (
	margin = 24
	// heading is the height of the line above the columns.
	heading   = 28
	boxHeight = 30
	boxGap    = 12
	// A lane is where an edge passes a column, between its boxes.
	laneHeight = 2
	// Names are set in 13 px of a monospaced font: 0.6 em is what they have.
	charWidth = 7.9
	boxPad    = 12
	// Between two columns there is room for the curves.
	minColumnGap, maxColumnGap, gapPerEdge = 72, 200, 5
)

// sweeps is how often the columns are ordered to and fro. Crossings hardly
// become fewer after the fourth.
const sweeps = 8

// cell is a place in a column: a box, or a lane where node is nil.
type cell struct {
	node   *Node
	column int
	// left and right are the cells in the neighbouring columns it is joined to.
	left, right []*cell
	// index is the position in the column, y the middle.
	index int
	y     float64
}

func (c *cell) height() float64 {
	if c.node == nil {
		return laneHeight
	}
	return boxHeight
}

// alone tells boxes without any edge.
func (c *cell) alone() bool { return len(c.left) == 0 && len(c.right) == 0 }

// drawing is a graph with places. An edge crosses the columns between its ends
// in lanes, and bends in the gaps alone: so it never meets a box.
type drawing struct {
	columns [][]*cell
	// boxes are the cells of nodes by name, lanes those that the edges of a node
	// share, one for each column after its own.
	boxes map[string]*cell
	lanes map[string][]*cell
	// x and widths are those of the columns.
	x, widths     []float64
	width, height float64
}

func (g *Graph) layout() *drawing {
	d := &drawing{boxes: map[string]*cell{}, lanes: map[string][]*cell{}}
	d.place(g)
	d.order()
	d.spread()
	d.measure()
	return d
}

// place fills the columns and joins their cells.
func (d *drawing) place(g *Graph) {
	for i := range g.Nodes {
		node := &g.Nodes[i]
		for len(d.columns) < node.Stage {
			d.columns = append(d.columns, nil)
		}
		d.boxes[node.Name] = d.add(&cell{node: node, column: node.Stage - 1})
	}
	for _, edge := range g.Edges() {
		from, to := d.boxes[edge.From], d.boxes[edge.To]
		last := from
		for i := range to.column - from.column - 1 {
			if i == len(d.lanes[edge.From]) {
				lane := d.add(&cell{column: from.column + 1 + i})
				d.lanes[edge.From] = append(d.lanes[edge.From], lane)
				join(last, lane)
			}
			last = d.lanes[edge.From][i]
		}
		join(last, to)
	}
	// Boxes without edges go below the others, where they are in nobody's way.
	slices.SortStableFunc(d.columns[0], func(a, b *cell) int {
		return cmp.Compare(boolInt(a.alone()), boolInt(b.alone()))
	})
	renumber(d.columns[0])
}

func (d *drawing) add(c *cell) *cell {
	c.index = len(d.columns[c.column])
	d.columns[c.column] = append(d.columns[c.column], c)
	return c
}

func join(left, right *cell) {
	left.right = append(left.right, right)
	right.left = append(right.left, left)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func renumber(column []*cell) {
	for i, c := range column {
		c.index = i
	}
}

// order sorts each column by the mean position of the cells that its cells are
// joined to, to and fro, and keeps the order with the fewest crossings.
func (d *drawing) order() {
	best, fewest := d.copyColumns(), d.crossings()
	for i := range sweeps {
		for j := range d.columns {
			column, neighbours := j, toLeft
			if i%2 == 1 {
				column, neighbours = len(d.columns)-1-j, toRight
			}
			sortColumn(d.columns[column], neighbours)
		}
		if n := d.crossings(); n < fewest {
			best, fewest = d.copyColumns(), n
		}
	}
	d.columns = best
	for _, column := range d.columns {
		renumber(column)
	}
}

func toLeft(c *cell) []*cell  { return c.left }
func toRight(c *cell) []*cell { return c.right }

func (d *drawing) copyColumns() [][]*cell {
	columns := make([][]*cell, len(d.columns))
	for i, column := range d.columns {
		columns[i] = slices.Clone(column)
	}
	return columns
}

// sortColumn sorts by barycenter. Cells without neighbours keep their place,
// and those without any edge the end.
func sortColumn(column []*cell, neighbours func(*cell) []*cell) {
	center := map[*cell]float64{}
	for _, c := range column {
		switch joined := neighbours(c); {
		case c.alone():
			center[c] = math.Inf(1)
		case len(joined) == 0:
			center[c] = float64(c.index)
		default:
			center[c] = mean(joined, func(n *cell) float64 { return float64(n.index) })
		}
	}
	slices.SortStableFunc(column, func(a, b *cell) int { return cmp.Compare(center[a], center[b]) })
	renumber(column)
}

func mean(cells []*cell, value func(*cell) float64) float64 {
	sum := 0.0
	for _, c := range cells {
		sum += value(c)
	}
	return sum / float64(len(cells))
}

// crossings counts the pairs of edges that cross in the gaps.
func (d *drawing) crossings() int {
	count := 0
	for _, column := range d.columns {
		var ends [][2]int
		for _, c := range column {
			for _, right := range c.right {
				ends = append(ends, [2]int{c.index, right.index})
			}
		}
		for i, a := range ends {
			for _, b := range ends[:i] {
				if (a[0]-b[0])*(a[1]-b[1]) < 0 {
					count++
				}
			}
		}
	}
	return count
}

// measure sets the widths and the places of the columns.
func (d *drawing) measure() {
	x := float64(margin)
	for _, column := range d.columns {
		width, edges := 0.0, 0
		for _, c := range column {
			edges += len(c.right)
			if c.node != nil {
				width = max(width, math.Ceil(float64(utf8.RuneCountInString(c.node.Name))*charWidth)+2*boxPad)
			}
		}
		d.x, d.widths = append(d.x, x), append(d.widths, width)
		d.width = x + width + margin
		x += width + min(maxColumnGap, max(minColumnGap, float64(edges*gapPerEdge)))
	}
}
