package sizes

import (
	"fmt"
	"html/template"
	"slices"
)

// rect is a rectangle, in any unit.
type rect struct{ X, Y, W, H float64 }

// shrink returns what is left within margins.
func (r rect) shrink(top, others float64) rect {
	return rect{r.X + others, r.Y + top, max(r.W-2*others, 0), max(r.H-top-others, 0)}
}

// in returns the position within another rectangle, in percent of it.
func (r rect) in(outer rect) template.CSS {
	return template.CSS(fmt.Sprintf("left:%.3f%%;top:%.3f%%;width:%.3f%%;height:%.3f%%",
		100*(r.X-outer.X)/outer.W, 100*(r.Y-outer.Y)/outer.H, 100*r.W/outer.W, 100*r.H/outer.H))
}

// squarify divides a rectangle into one for each weight, with areas in the same
// proportions and as near to squares as a greedy choice makes them: rows along the
// shorter side, each filled while that improves its worst rectangle (Bruls, Huizing,
// van Wijk: Squarified Treemaps). The weights are positive and sorted, the biggest
// first.
func squarify(weights []float64, in rect) []rect {
	var total float64
	for _, w := range weights {
		total += w
	}
	rects := make([]rect, 0, len(weights))
	for len(weights) > 0 {
		side := min(in.W, in.H)
		scale := in.W * in.H / total // area of a unit of weight
		n := 1
		sum := weights[0]
		for n < len(weights) && worst(weights[:n+1], sum+weights[n], scale, side) <= worst(weights[:n], sum, scale, side) {
			sum += weights[n]
			n++
		}
		if n == len(weights) {
			sum = total // What rounding left over must not be a gap.
		}
		var row []rect
		row, in = layRow(weights[:n], sum, sum/total, in)
		rects = append(rects, row...)
		weights, total = weights[n:], total-sum
	}
	return rects
}

// worst returns the highest ratio of sides in a row of a sum, along a side.
func worst(row []float64, sum, scale, side float64) float64 {
	thick := sum * scale / side
	longest, shortest := slices.Max(row)*scale/thick, slices.Min(row)*scale/thick
	return max(longest/thick, thick/shortest)
}

// layRow takes a part of a rectangle away for a row, along the shorter side, and
// returns what is left.
func layRow(row []float64, sum, part float64, in rect) (rects []rect, left rect) {
	at := 0.0
	for _, w := range row {
		share := w / sum
		if in.W >= in.H {
			rects = append(rects, rect{in.X, in.Y + at*in.H, in.W * part, share * in.H})
		} else {
			rects = append(rects, rect{in.X + at*in.W, in.Y, share * in.W, in.H * part})
		}
		at += share
	}
	if in.W >= in.H {
		return rects, rect{in.X + in.W*part, in.Y, in.W * (1 - part), in.H}
	}
	return rects, rect{in.X, in.Y + in.H*part, in.W, in.H * (1 - part)}
}
