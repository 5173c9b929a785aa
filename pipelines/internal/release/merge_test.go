package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

var modTime = time.Unix(1_700_000_000, 0)

// packed writes the tarball of an asset with files "path content" into a folder.
func packed(t *testing.T, dir, asset string, files ...string) archive.Component {
	t.Helper()
	tree := t.TempDir()
	for _, file := range files {
		path, content, _ := strings.Cut(file, " ")
		path = filepath.Join(tree, "opt/kata", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, ComponentFile(asset))
	if _, err := archive.Pack(t.Context(), tree, out, archive.Options{Level: 1, ModTime: modTime}); err != nil {
		t.Fatal(err)
	}
	return archive.Component{Name: asset, Path: out}
}

// noise does not compress.
func noise(n int) string {
	random := rand.NewChaCha8([32]byte{1})
	text := make([]byte, n)
	_, _ = random.Read(text)
	return string(text)
}

func merge(t *testing.T, components ...archive.Component) Merge {
	t.Helper()
	return Merge{
		Set: "kata-static", Arch: catalog.X86_64, Version: "3.28.0", Pins: []byte("pins: {}\n"),
		Components: components, ModTime: modTime, Scratch: filepath.Join(t.TempDir(), "reframed"),
	}
}

func plan(t *testing.T, m Merge) *MergePlan {
	t.Helper()
	p, err := m.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	m := merge(t, packed(t, dir, "kernel", "share/vmlinux k"), packed(t, dir, "qemu", "bin/qemu "+noise(9000), "share/rom r"))
	p := plan(t, m)
	out := filepath.Join(dir, MergedFile(m.Set))
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the plan has written: %v", err)
	}
	first, err := p.Write(t.Context(), out, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != p.Report.Size || first.Size != info.Size() || !first.Changed {
		t.Errorf("%d bytes, of %d planned; result %+v", info.Size(), p.Report.Size, first)
	}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	members, err := archive.List(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, member := range members {
		if !member.Mode.IsDir() {
			names = append(names, strings.TrimPrefix(member.Name, "./opt/kata/"))
		}
	}
	if got := strings.Join(names, " "); got != "share/vmlinux bin/qemu share/rom VERSION versions.yaml" {
		t.Errorf("members = %s", got)
	}
	var sum int64
	for _, c := range p.Report.Components {
		sum += c.Size
	}
	if sum+p.Report.Own != p.Report.Size || p.Report.Components[0].Name != "qemu" {
		t.Errorf("the report has %d + %d bytes of %d, first %s", sum, p.Report.Own, p.Report.Size, p.Report.Components[0].Name)
	}
}

// TestMergeAgain leaves alone what is right, and puts right what is not, however
// little is wrong with it.
func TestMergeAgain(t *testing.T) {
	dir := t.TempDir()
	m := merge(t, packed(t, dir, "a", "bin/a "+noise(5000)), packed(t, dir, "b", "bin/b "+noise(7000)))
	out := filepath.Join(dir, MergedFile(m.Set))
	write := func() MergedTarball {
		t.Helper()
		result, err := plan(t, m).Write(t.Context(), out, nil)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	first := write()
	long := time.Unix(1, 0)
	if err := os.Chtimes(out, long, long); err != nil {
		t.Fatal(err)
	}
	again := write()
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if again.Changed || again.Size != first.Size || !info.ModTime().Equal(long) {
		t.Errorf("the second run changed the file: %+v, of %s", again, info.ModTime())
	}
	whole, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"a flipped bit": append(append(append([]byte{}, whole[:3000]...), whole[3000]^1), whole[3001:]...),
		"cut":           whole[:len(whole)-1],
		"longer":        append(append([]byte{}, whole...), 0),
		"empty":         {},
	} {
		if err := os.WriteFile(out, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if result := write(); !result.Changed || result.Size != first.Size {
			t.Errorf("%s: %+v", name, result)
		}
		if got, err := os.ReadFile(out); err != nil || string(got) != string(whole) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
}

// TestMergeRefuses names both components, and leaves no file.
func TestMergeRefuses(t *testing.T) {
	dir := t.TempDir()
	a := packed(t, dir, "a", "bin/tool one", "VERSION mine")
	b := packed(t, dir, "b", "bin/tool two")
	_, err := merge(t, a, b).Plan(t.Context())
	for _, want := range []string{"./opt/kata/bin/tool is in a and in b", "./opt/kata/VERSION is in a, and is what the merge adds"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %s", err, want)
		}
	}
	// What changes between the plan and the writing is noticed.
	p := plan(t, merge(t, b))
	packed(t, dir, "b", "bin/tool three")
	out := filepath.Join(dir, "out.tar.zst")
	if _, err := p.Write(t.Context(), out, nil); err == nil || !strings.Contains(err.Error(), "another tarball than when the merge was planned") {
		t.Errorf("a component was replaced: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := plan(t, merge(t, b)).Write(ctx, out, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*out*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestLimit is exact to the byte: a tarball of the limit's size is too big.
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	m := merge(t, packed(t, dir, "big", "bin/big "+noise(40_000)), packed(t, dir, "small", "bin/small s"))
	size := plan(t, m).Report.Size
	m.Limit = size + 1
	if err := plan(t, m).Report.Check(true); err != nil {
		t.Errorf("one byte below the limit: %v", err)
	}
	m.Limit = size
	p := plan(t, m)
	previous := reportOf("3.27.0", ReportComponent{Name: "big", Size: 1000, Members: []ReportMember{{Name: "opt/kata/bin/big", Packed: 1000}}})
	if err := p.Report.Compare(&Previous{Name: "3.27.0", Size: previous.Size, report: &previous}); err != nil {
		t.Fatal(err)
	}
	err := p.Report.Check(false)
	var limit *LimitError
	if !errors.As(err, &limit) {
		t.Fatalf("of the limit's size: %v", err)
	}
	for _, want := range []string{
		fmt.Sprintf("kata-static on x86_64 would have %d bytes, and must have less than %d: 1 too many", size, size),
		"components:\n    40.0 KiB  98", "%  big\n", "biggest members:\n    40.0 KiB  opt/kata/bin/big (big)",
		"since 3.27.0, of 2.0 KiB (+", "\n   +39.0 KiB  big\n", "\n   +39.0 KiB  opt/kata/bin/big (big)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if Limit != 2<<30 {
		t.Errorf("the limit is %d", Limit)
	}
	m.Limit = 0
	if got := plan(t, m).Report.Limit; got != Limit {
		t.Errorf("the default limit is %d", got)
	}
}

func TestBudgets(t *testing.T) {
	dir := t.TempDir()
	m := merge(t, packed(t, dir, "big", "bin/big "+noise(40_000)), packed(t, dir, "small", "bin/small s"))
	exact := plan(t, m).Report.Components[0].Size
	m.Budgets = map[string]Budget{"big": {exact, "assets.yaml:7"}, "small": {1 << 20, "assets.yaml:9"}}
	if over := plan(t, m).Report.OverBudget(); over != nil {
		t.Errorf("within the budget: %q", over)
	}
	m.Budgets["big"] = Budget{exact - 1, "assets.yaml:7"}
	r := plan(t, m).Report
	if err := r.Check(false); err != nil {
		t.Errorf("a budget stops a merge that is not strict: %v", err)
	}
	want := "assets.yaml:7: big on x86_64 has 40.0 KiB, 1 B over its budget of 40.0 KiB: make it smaller, or raise the budget"
	if err := r.Check(true); err == nil || err.Error() != want {
		t.Errorf("strict: %v, want %s", err, want)
	}
}

// listed is a member as `archive ls --json` prints it.
type listed struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Packed int64  `json:"packed,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
}

// TestWriteTidies has what a killed run left beside a tarball that is right.
func TestWriteTidies(t *testing.T) {
	dir := t.TempDir()
	p := plan(t, merge(t, packed(t, t.TempDir(), "a", "bin/a a")))
	out := filepath.Join(dir, MergedFile("kata-static"))
	for _, changed := range []bool{true, false} {
		if err := os.WriteFile(filepath.Join(dir, ".kata-static.tar.zst.partial"), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		tarball, err := p.Write(t.Context(), out, nil)
		if err != nil || tarball.Changed != changed {
			t.Errorf("%+v, %v", tarball, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("beside the tarball: %v, %v", entries, err)
		}
	}
}

// TestCheckComponents has a component that is not what its index says. Only Check
// decompresses it.
func TestCheckComponents(t *testing.T) {
	dir := t.TempDir()
	c := packed(t, dir, "qemu", "bin/qemu "+noise(9000))
	data, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(c.Path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	p := plan(t, merge(t, packed(t, dir, "a", "bin/a a"), c))
	err = p.Check(t.Context())
	if want := `merging kata-static on x86_64: component "qemu": ` + c.Path + ": checking frame"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestReadPrevious(t *testing.T) {
	dir := t.TempDir()
	p := plan(t, merge(t, packed(t, dir, "a", "bin/a "+noise(5000), "bin/b b", "bin/c "+noise(700), "lib/d d"), packed(t, dir, "e", "bin/e e", "bin/f "+noise(99))))
	merged := filepath.Join(dir, "kata-static-3.27.0-amd64.tar.zst")
	if _, err := p.Write(t.Context(), merged, nil); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile(merged)
	if err != nil {
		t.Fatal(err)
	}
	var listing []listed
	for _, m := range p.Merged.Index.Sized() {
		listing = append(listing, listed{m.Name, m.Size, m.Packed, m.SHA256, m.Link})
	}
	list, err := json.Marshal(listing)
	if err != nil {
		t.Fatal(err)
	}
	var end int64
	for _, frame := range p.Merged.Index.Frames {
		end += frame.Size
	}
	for name, test := range map[string]struct {
		path, name string
		size       int64
		estimated  bool
	}{
		"a tarball":        {merged, "kata-static-3.27.0-amd64", int64(len(whole)), false},
		"without an index": {file("old.tar.zst", string(whole[:end])), "old", end, true},
		"a listing":        {file("l.json", string(list)), "l.json", end - p.Merged.Index.Frames[len(p.Merged.Index.Frames)-1].Size, false},
	} {
		got, err := ReadPrevious(test.path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Name != test.name || got.Size != test.size || got.Estimated != test.estimated {
			t.Errorf("%s: %+v, want %+v", name, *got, test)
		}
		again := p.Report
		if err := again.Compare(got); err != nil {
			t.Fatal(err)
		}
		// Without an index, the length of the whole is that of other frames, too.
		if c := again.Change; len(c.Components)+len(c.Members) != 0 || c.Before != c.After && !test.estimated {
			t.Errorf("%s: differs from itself: %+v", name, *c)
		}
	}
	for text, want := range map[string]string{
		`{"format": 7}`:        "it is no report of format 1",
		`{"format": `:          "it begins as JSON and is no report",
		`[{"a": 1}]`:           "not of members",
		`[{"name": "./opt/"}]`: "no member says what it takes",
		`hello`:                "reading the previous release",

		`{"format": 1, "version": "3\n::error::x"}`:                                                  `control characters in "3\n::error::x"`,
		`{"format": 1, "set": "\u001b[31m"}`:                                                         "control characters",
		`{"format": 1, "size": -1}`:                                                                  "a size of -1 bytes",
		`{"format": 1, "components": [{"name": "a", "size": -9223372036854775808}]}`:                 "a size of -9223372036854775808 bytes",
		`{"format": 1, "components": [{"name": "a\u0000"}]}`:                                         "control characters",
		`{"format": 1, "components": [{"members": [{"name": "a", "packed": 4611686018427387904}]}]}`: "a size of 4611686018427387904 bytes",
		`{"format": 1, "components": [{"members": [{"name": "a\nb"}]}]}`:                             "control characters",
		`[{"name": "./opt/x", "packed": -5}]`:                                                        "a size of -5 bytes",
		`[{"name": "./opt/\u001b", "packed": 5}]`:                                                    "control characters",
	} {
		if _, err := ReadPrevious(file("bad", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
