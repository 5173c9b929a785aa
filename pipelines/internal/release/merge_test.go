package release

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
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
	out := filepath.Join(dir, build.TarballName(asset))
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
		Merge: sizes.Merge{Set: "kata-static", Arch: catalog.X86_64, Version: "3.28.0", Catalog: &catalog.Catalog{}},
		Pins:  []byte("pins: {}\n"), Components: components, Cache: t.TempDir(),
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
	if info.Size() != p.Report.Size || !first {
		t.Errorf("%d bytes, of %d planned; changed %v", info.Size(), p.Report.Size, first)
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

// TestMergeAgain: a file with the right content is not written again, and one with any
// other content is.
func TestMergeAgain(t *testing.T) {
	dir := t.TempDir()
	m := merge(t, packed(t, dir, "a", "bin/a "+noise(5000)), packed(t, dir, "b", "bin/b "+noise(7000)))
	out := filepath.Join(dir, MergedFile(m.Set))
	write := func() (changed bool) {
		t.Helper()
		changed, err := plan(t, m).Write(t.Context(), out, nil)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	write()
	first, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	long := time.Unix(1, 0)
	if err := os.Chtimes(out, long, long); err != nil {
		t.Fatal(err)
	}
	again := write()
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if again || info.Size() != first.Size() || !info.ModTime().Equal(long) {
		t.Errorf("the second run changed the file: %v, of %s", again, info.ModTime())
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
		if !write() {
			t.Errorf("%s was not written again", name)
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
	for _, want := range []string{"./opt/kata/bin/tool is in a and in b", "./opt/kata/VERSION is in a, and the merge adds it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %s", err, want)
		}
	}
	// What changes between the plan and the writing is noticed.
	p := plan(t, merge(t, b))
	packed(t, dir, "b", "bin/tool three")
	out := filepath.Join(dir, "out.tar.zst")
	if _, err := p.Write(t.Context(), out, nil); err == nil || !strings.Contains(err.Error(), "has changed since the merge was planned") {
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

// TestWriteTidies removes what a killed run left next to a tarball with the right content.
func TestWriteTidies(t *testing.T) {
	dir := t.TempDir()
	p := plan(t, merge(t, packed(t, t.TempDir(), "a", "bin/a a")))
	out := filepath.Join(dir, MergedFile("kata-static"))
	for _, changed := range []bool{true, false} {
		if err := os.WriteFile(filepath.Join(dir, ".kata-static.tar.zst.tmp1234567890123456789"), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Write(t.Context(), out, nil); err != nil || got != changed {
			t.Errorf("changed %v, %v", got, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("next to the tarball: %v, %v", entries, err)
		}
	}
}

// TestCheckComponents has a component that is not what its index says.
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
	_, err = merge(t, packed(t, dir, "a", "bin/a a"), c).Plan(t.Context())
	if want := `merging kata-static on x86_64: component "qemu": vetting ` + c.Path + ": checking frame"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}
