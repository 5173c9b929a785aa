package graph

import (
	"math"
	"slices"
)

// spread sets the heights of all cells: each near the mean of those it is
// joined to, in the order of its column, without touching its neighbours.
func (d *drawing) spread() {
	columns := slices.Clone(d.columns)
	// What has no edges pulls at nothing: stack puts it below.
	columns[0] = slices.DeleteFunc(slices.Clone(columns[0]), (*cell).alone)
	for _, column := range columns {
		settle(column, make([]float64, len(column)))
	}
	for i := range sweeps {
		for j := range columns {
			column, neighbours := j, toLeft
			if i%2 == 1 {
				column, neighbours = len(columns)-1-j, toRight
			}
			settle(columns[column], wishes(columns[column], neighbours))
		}
	}
	top, bottom := math.Inf(1), math.Inf(-1)
	for _, column := range columns {
		for _, c := range column {
			top, bottom = min(top, c.y-c.height()/2), max(bottom, c.y+c.height()/2)
		}
	}
	for _, column := range columns {
		for _, c := range column {
			c.y += margin + heading - top
		}
	}
	d.height = max(bottom-top+margin+heading, stack(d.columns[0])) + margin
}

// stack puts the boxes without edges below the others of the first column and
// returns where the column ends.
func stack(column []*cell) (bottom float64) {
	bottom = margin + heading - boxGap
	for _, c := range column {
		if c.alone() {
			c.y = bottom + boxGap + boxHeight/2
		}
		bottom = c.y + c.height()/2
	}
	return bottom
}

// wishes says where the cells of a column would like to be.
func wishes(column []*cell, neighbours func(*cell) []*cell) []float64 {
	wanted := make([]float64, len(column))
	for i, c := range column {
		wanted[i] = c.y
		if joined := neighbours(c); len(joined) > 0 {
			wanted[i] = mean(joined, func(n *cell) float64 { return n.y })
		}
	}
	return wanted
}

// settle gives the cells of a column the places that are nearest to those
// wanted, by least squares, while they keep their order and distances. Less
// the distances that is isotonic regression: neighbours in the wrong order
// are pooled, and the pool takes the mean.
func settle(column []*cell, wanted []float64) {
	type pool struct {
		sum   float64
		count int
	}
	offsets := make([]float64, len(column))
	var pools []pool
	for i, c := range column {
		if i > 0 {
			offsets[i] = offsets[i-1] + (column[i-1].height()+c.height())/2 + boxGap
		}
		pools = append(pools, pool{wanted[i] - offsets[i], 1})
		for n := len(pools); n > 1 && pools[n-1].sum/float64(pools[n-1].count) < pools[n-2].sum/float64(pools[n-2].count); n-- {
			pools[n-2].sum += pools[n-1].sum
			pools[n-2].count += pools[n-1].count
			pools = pools[:n-1]
		}
	}
	i := 0
	for _, p := range pools {
		for range p.count {
			column[i].y = p.sum/float64(p.count) + offsets[i]
			i++
		}
	}
}
