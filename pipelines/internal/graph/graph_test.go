package graph

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// kata has the shape of a release for amd64.
func kata() []Node {
	nodes := []Node{
		{Name: "rootfs-image", Dependencies: []string{"agent", "busybox", "kernel"}},
		{Name: "rootfs-image-confidential", Dependencies: []string{"agent", "busybox", "coco-guest-components", "kernel", "pause-image"}},
		{Name: "rootfs-image-mariner", Dependencies: []string{"agent", "busybox"}},
		{Name: "rootfs-image-nvidia-gpu", Dependencies: []string{"agent", "busybox", "kernel-nvidia-gpu"}},
		{Name: "rootfs-image-nvidia-gpu-confidential", Dependencies: []string{"agent", "busybox", "coco-guest-components", "kernel-nvidia-gpu", "pause-image"}},
		{Name: "rootfs-initrd", Dependencies: []string{"agent", "busybox"}},
		{Name: "rootfs-initrd-confidential", Dependencies: []string{"agent", "busybox", "coco-guest-components", "pause-image"}},
		{Name: "shim-v2", Dependencies: []string{
			"kernel", "rootfs-image", "rootfs-image-confidential", "rootfs-image-nvidia-gpu", "rootfs-image-nvidia-gpu-confidential", "rootfs-initrd-confidential",
		}},
	}
	for _, name := range strings.Fields(`agent busybox cloud-hypervisor cloud-hypervisor-glibc coco-guest-components
		firecracker kernel kernel-debug kernel-dragonball-experimental kernel-nvidia-gpu nydus ovmf ovmf-sev ovmf-tdx
		pause-image qemu qemu-snp-experimental qemu-tdx-experimental virtiofsd agent-ctl genpolicy kata-ctl`) {
		nodes = append(nodes, Node{Name: name})
	}
	return nodes
}

// cases are graphs by the name of their golden files.
var cases = map[string][]Node{
	"none":  {},
	"one":   {{Name: "kernel-debug"}},
	"three": {{Name: "rootfs-image", Dependencies: []string{"kernel", "agent", "agent"}}, {Name: "kernel"}, {Name: "agent"}},
	"names": {{Name: `a"<b>&\N`, Dependencies: []string{"end", "x#`*y\n"}}, {Name: "end"}, {Name: "x#`*y\n"}},
	"kata":  kata(),
}

func TestGolden(t *testing.T) {
	for name, nodes := range cases {
		t.Run(name, func(t *testing.T) {
			g := build(t, nodes)
			slices.Reverse(nodes)
			again := build(t, nodes)
			for _, format := range []struct {
				ending     string
				got, again string
			}{{"mmd", g.Mermaid(), again.Mermaid()}, {"dot", g.DOT(), again.DOT()}, {"svg", g.SVG(), again.SVG()}} {
				if format.got != format.again {
					t.Errorf("%s depends on the order of the nodes", format.ending)
				}
				golden(t, name+"."+format.ending, format.got)
			}
		})
	}
}

func build(t *testing.T, nodes []Node) *Graph {
	t.Helper()
	g, err := New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", name, diff)
	}
}

func TestStages(t *testing.T) {
	g := build(t, kata())
	stages := map[string]int{}
	for i, node := range g.Nodes {
		stages[node.Name] = node.Stage
		for _, dependency := range node.Dependencies {
			if !slices.ContainsFunc(g.Nodes[:i], func(n Node) bool { return n.Name == dependency }) {
				t.Errorf("%s stands before its dependency %s", node.Name, dependency)
			}
			if stages[dependency] >= node.Stage {
				t.Errorf("%s is of stage %d, its dependency %s of %d", node.Name, node.Stage, dependency, stages[dependency])
			}
		}
	}
	if stages["agent"] != 1 || stages["rootfs-image"] != 2 || stages["shim-v2"] != 3 {
		t.Errorf("stages are %v", stages)
	}
}

func TestErrors(t *testing.T) {
	for want, nodes := range map[string][]Node{
		`"a" stands twice in the graph`:                 {{Name: "a"}, {Name: "a"}},
		`"a" depends on "b", which is not in the graph`: {{Name: "a", Dependencies: []string{"b"}}},
		`a circle of dependencies: a -> b -> c -> a`: {
			{Name: "a", Dependencies: []string{"b"}}, {Name: "b", Dependencies: []string{"c"}}, {Name: "c", Dependencies: []string{"a"}},
		},
	} {
		if _, err := New(nodes); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSVGIsXML also finds all names, and a title for each box and edge.
func TestSVGIsXML(t *testing.T) {
	for name, nodes := range cases {
		g := build(t, nodes)
		decoder := xml.NewDecoder(strings.NewReader(g.SVG()))
		texts, titles := []string{}, 0
		var inside string
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				inside = token.Name.Local
				if inside == "title" {
					titles++
				}
			case xml.CharData:
				if inside == "text" && strings.TrimSpace(string(token)) != "" {
					texts = append(texts, string(token))
				}
			case xml.EndElement:
				inside = ""
			}
		}
		for _, node := range nodes {
			if !slices.Contains(texts, node.Name) {
				t.Errorf("%s: no text is %q", name, node.Name)
			}
		}
		if want := 1 + len(g.Nodes) + len(g.Edges()); titles != want {
			t.Errorf("%s: %d titles, want %d", name, titles, want)
		}
	}
}

// TestNothingOverlaps walks along every edge: none enters a box but its own
// two, at their sides. And boxes neither touch nor leave the picture.
func TestNothingOverlaps(t *testing.T) {
	graphs := map[string][]Node{"deep": deep(6, 7)}
	for name, nodes := range cases {
		if len(nodes) > 0 {
			graphs[name] = nodes
		}
	}
	for name, nodes := range graphs {
		g := build(t, nodes)
		d := g.layout()
		checkBoxes(t, name, d)
		for _, edge := range g.Edges() {
			for _, p := range walk(d.points(edge)) {
				if box := d.boxAt(p); box != "" {
					t.Errorf("%s: the edge %s -> %s meets the box %s at %v", name, edge.From, edge.To, box, p)
					break
				}
			}
		}
	}
}

// deep has many edges that pass columns.
func deep(stages, width int) []Node {
	var nodes []Node
	for stage := range stages {
		for i := range width {
			node := Node{Name: fmt.Sprintf("s%d-%d", stage, i)}
			for before := range stage {
				node.Dependencies = append(node.Dependencies, fmt.Sprintf("s%d-%d", before, (i*(before+2)+stage)%width))
			}
			nodes = append(nodes, node)
		}
	}
	return nodes
}

func checkBoxes(t *testing.T, name string, d *drawing) {
	t.Helper()
	for _, column := range d.columns {
		for i, c := range column {
			if c.y-c.height()/2 < margin || c.y+c.height()/2 > d.height-margin+0.01 {
				t.Errorf("%s: a cell at %.0f of %.0f leaves the picture", name, c.y, d.height)
			}
			if i > 0 && c.y-column[i-1].y < (c.height()+column[i-1].height())/2+boxGap-0.01 {
				t.Errorf("%s: two cells of column %d are %.1f apart", name, c.column, c.y-column[i-1].y)
			}
		}
	}
}

// walk returns points along an edge as path draws it.
func walk(points []point) []point {
	const steps = 50
	var along []point
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		for step := range steps + 1 {
			t := float64(step) / steps
			// The curve's control points are level with its ends, in the middle.
			x := float64(a.x) + float64(b.x-a.x)*(1.5*t*(1-t)+t*t*t)
			y := float64(a.y) + float64(b.y-a.y)*(3*t*t*(1-t)+t*t*t)
			if i%2 == 0 {
				x, y = float64(a.x)+float64(b.x-a.x)*t, float64(a.y)
			}
			along = append(along, point{pixels(x), pixels(y)})
		}
	}
	return along
}

// boxAt names the box that a point is in, its border not counted.
func (d *drawing) boxAt(p point) string {
	for _, column := range d.columns {
		for _, c := range column {
			left, y := pixels(d.x[c.column]), pixels(c.y)
			if c.node != nil && p.x > left && p.x < d.right(c.column) && p.y >= y-boxHeight/2 && p.y <= y+boxHeight/2 {
				return c.node.Name
			}
		}
	}
	return ""
}

// TestTonesAreLegible wants the contrast that WCAG asks of graphics, on white
// and on the dark ground of GitHub.
func TestTonesAreLegible(t *testing.T) {
	for _, tone := range append([]string{"#6e7781"}, tones...) {
		for _, ground := range []string{"#ffffff", "#0d1117"} {
			light, dark := luminance(t, tone), luminance(t, ground)
			if light < dark {
				light, dark = dark, light
			}
			if contrast := (light + 0.05) / (dark + 0.05); contrast < 3 {
				t.Errorf("%s on %s has a contrast of %.2f", tone, ground, contrast)
			}
		}
	}
}

func luminance(t *testing.T, color string) float64 {
	t.Helper()
	var channels [3]uint8
	if _, err := fmt.Sscanf(color, "#%02x%02x%02x", &channels[0], &channels[1], &channels[2]); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(channels[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// TestFewCrossings guards the ordering: as they come, these edges cross.
func TestFewCrossings(t *testing.T) {
	var nodes []Node
	for i := range 6 {
		nodes = append(nodes, Node{Name: fmt.Sprintf("a%d", i)}, Node{Name: fmt.Sprintf("b%d", i), Dependencies: []string{fmt.Sprintf("a%d", 5-i)}})
	}
	g := build(t, nodes)
	d := &drawing{boxes: map[string]*cell{}, lanes: map[string][]*cell{}}
	d.place(g)
	if n := d.crossings(); n != 15 {
		t.Errorf("before: %d crossings, want 15", n)
	}
	d.order()
	if n := d.crossings(); n != 0 {
		t.Errorf("after: %d crossings, want none", n)
	}
}
