package sizes

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDivide holds for any weights: areas in proportion, all inside, none over
// another.
func TestDivide(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		weights := make([]float64, 1+random.IntN(40))
		var total float64
		for i := range weights {
			weights[i] = math.Exp(random.Float64() * 12)
			total += weights[i]
		}
		slices.SortFunc(weights, func(a, b float64) int { return cmp.Compare(b, a) })
		in := rect{X: 5, Y: 7, W: 10 + 1000*random.Float64(), H: 10 + 1000*random.Float64()}
		rects := divide(weights, in)
		if len(rects) != len(weights) {
			t.Fatalf("%d rectangles of %d weights", len(rects), len(weights))
		}
		for i, r := range rects {
			if want := weights[i] / total * in.W * in.H; math.Abs(r.W*r.H-want) > 1e-6*in.W*in.H {
				t.Fatalf("rectangle %d has area %g, want %g", i, r.W*r.H, want)
			}
			const slack = 1e-6
			if r.X < in.X-slack || r.Y < in.Y-slack || r.X+r.W > in.X+in.W+slack || r.Y+r.H > in.Y+in.H+slack {
				t.Fatalf("rectangle %d, %+v, leaves %+v", i, r, in)
			}
			for j, other := range rects[:i] {
				w := min(r.X+r.W, other.X+other.W) - max(r.X, other.X)
				h := min(r.Y+r.H, other.Y+other.H) - max(r.Y, other.Y)
				if w > slack && h > slack {
					t.Fatalf("rectangles %d and %d overlap by %g x %g", i, j, w, h)
				}
			}
		}
	}
}
