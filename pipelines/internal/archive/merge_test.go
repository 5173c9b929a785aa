package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mergeOptions(t *testing.T) Options {
	return Options{ModTime: epoch, Cache: filepath.Join(t.TempDir(), "cache"), frame: testFrame}
}

// component packs nodes.
func component(t *testing.T, name string, nodes ...node) Component {
	t.Helper()
	path, _ := pack(t, plant(t, nodes), 1)
	return Component{Name: name, Path: path}
}

// kernelAndQEMU share directories. A third component has one small file.
func kernelAndQEMU(t *testing.T) []Component {
	licence := node{name: "opt/kata/share/LICENCE", mode: 0o644, data: []byte("Apache\n")}
	same := node{name: "opt/kata/share/same", link: "LICENCE"}
	return []Component{
		component(t, "kernel", licence, same,
			node{name: "opt/kata/share/kata-containers/vmlinux", mode: 0o644, data: code(10*testFrame+12345, 1)},
			node{name: "opt/kata/share/kata-containers/vmlinux.container", link: "vmlinux"}),
		component(t, "qemu",
			node{name: "opt/kata/bin/qemu", mode: 0o755, data: code(100_000, 2)},
			node{name: "opt/kata/share/qemu/bios.bin", mode: 0o644, data: code(5000, 3)}),
		component(t, "notice", node{name: "opt/kata/share/NOTICE", mode: 0o644, data: []byte("see LICENCE\n")}),
	}
}

var versionFile = Extra{Name: "./opt/kata/VERSION", Content: []byte("3.28.0\n")}

// writeMerged writes a merged tarball and returns what is in the file then.
func writeMerged(t *testing.T, m *Merged, out string) Summary {
	t.Helper()
	if _, err := m.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return Summary{SHA256: sumOf(data), Size: int64(len(data)), Members: m.Index.Members()}
}

func plan(t *testing.T, components []Component, extras ...Extra) *Merged {
	t.Helper()
	m, err := PlanMerge(t.Context(), components, extras, mergeOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMerge(t *testing.T) {
	components := kernelAndQEMU(t)
	m := plan(t, components, versionFile)
	dir := t.TempDir()
	out := filepath.Join(dir, "merged.tar.zst")
	summary := writeMerged(t, m, out)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside the tarball: %v, %v", entries, err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != m.Size {
		t.Errorf("%d bytes; planned %d", len(data), m.Size)
	}
	file := open(t, out)
	if err := file.check(t.Context(), discard); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(m.Index, file.Index()); diff != "" {
		t.Errorf("index (-planned +written)\n%s", diff)
	}
	listed, err := List(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(summary.Members, listed); diff != "" {
		t.Errorf("members (-said +listed)\n%s", diff)
	}
	var names []string
	for _, l := range listed {
		names = append(names, l.Name)
	}
	want := []string{
		"./opt/", "./opt/kata/", "./opt/kata/bin/", "./opt/kata/share/", "./opt/kata/share/kata-containers/", "./opt/kata/share/qemu/",
		"./opt/kata/share/LICENCE", "./opt/kata/share/kata-containers/vmlinux", "./opt/kata/share/kata-containers/vmlinux.container", "./opt/kata/share/same",
		"./opt/kata/bin/qemu", "./opt/kata/share/qemu/bios.bin", "./opt/kata/share/NOTICE", "./opt/kata/VERSION",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got)\n%s", diff)
	}
	checkParts(t, m)
	again := writeMerged(t, plan(t, components, versionFile), filepath.Join(t.TempDir(), "again"))
	if again.SHA256 != summary.SHA256 {
		t.Error("the same merge gives other bytes")
	}
}

func checkParts(t *testing.T, m *Merged) {
	t.Helper()
	sum := m.Own
	for _, p := range m.Parts {
		sum += p.Size
	}
	if sum != m.Size {
		t.Errorf("the parts make up %d bytes of %d", sum, m.Size)
	}
	if p := m.Parts[2]; p.Size == 0 || len(p.Members) != 1 {
		t.Errorf("notice is %+v", p)
	}
	if p := m.Parts[0]; p.Name != "kernel" || p.Reframed || len(p.Members) != 4 {
		t.Errorf("kernel is %+v", p)
	}
}

// TestMergeCopies makes sure that frames are copied, not compressed again: they
// are there to the byte, although other levels would make others.
func TestMergeCopies(t *testing.T) {
	path, _ := pack(t, plant(t, []node{{name: "opt/x", mode: 0o644, data: code(300_000, 1)}}), 4)
	x := open(t, path).Index()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := plan(t, []Component{{Name: "a", Path: path}, component(t, "b", node{name: "opt/y", mode: 0o644, data: []byte("y")})})
	out := filepath.Join(t.TempDir(), "merged")
	writeMerged(t, m, out)
	merged, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	frame := source[x.Frames[0].Size:][:x.Frames[1].Size]
	if !bytes.Contains(merged, frame) {
		t.Error("the frame of the component is not in the merged tarball")
	}
}

func TestMergedExtracts(t *testing.T) {
	out := filepath.Join(t.TempDir(), "merged.tar.zst")
	writeMerged(t, plan(t, kernelAndQEMU(t), versionFile), out)
	into := t.TempDir()
	shell := exec.CommandContext(t.Context(), "sh", "-ec", `zstd -q -dc "$1" | tar -x -C "$2"`, "sh", out, into)
	if text, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for name, want := range map[string]string{"VERSION": "3.28.0\n", "share/LICENCE": "Apache\n", "share/same": "Apache\n", "bin/qemu": string(code(100_000, 2))} {
		got, err := os.ReadFile(filepath.Join(into, "opt/kata", name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestMergeConflicts(t *testing.T) {
	text := func(name, content string) node {
		return node{name: "opt/kata/" + name, mode: 0o644, data: []byte(content)}
	}
	link := func(name, to string) node { return node{name: "opt/kata/" + name, link: to} }
	a := component(t, "a", text("f", "1"), text("d/f", "1"), text("x", "1"), link("l", "x"), link("m", "d"))
	for _, test := range []struct {
		name  string
		other []node
		extra string
		want  []string
	}{
		{name: "content", other: []node{text("f", "2")}, want: []string{"./opt/kata/f is in a and in b: files of 1 bytes with sha256 6b86b273ff34… and d4735e3a265e…"}},
		{name: "size", other: []node{text("f", "22")}, want: []string{"./opt/kata/f is in a and in b: files of 1 and 2 bytes"}},
		{name: "mode", other: []node{{name: "opt/kata/f", mode: 0o755, data: []byte("1")}}, want: []string{"./opt/kata/f is in a and in b: modes -rw-r--r-- and -rwxr-xr-x"}},
		{name: "same", other: []node{text("f", "1")}, want: []string{"./opt/kata/f is in a and in b: the same in both; ship it in one of them"}},
		{name: "same link", other: []node{link("l", "x"), text("y", "1")}, want: []string{"./opt/kata/l is in a and in b: the same in both"}},
		{name: "type", other: []node{link("f", "x"), text("x", "1")}, want: []string{"./opt/kata/f is in a and in b: a file and a link"}},
		{name: "target", other: []node{link("l", "f"), text("f", "1")}, want: []string{"./opt/kata/l is in a and in b: links to x and to f"}},
		{name: "directory over a file", other: []node{text("f/g", "1")}, want: []string{"./opt/kata/f is a file in a and a directory in b"}},
		{name: "through a link", other: []node{text("m/g", "1")}, want: []string{"./opt/kata/m is a link in a and a directory in b"}},
		{name: "file over a directory", other: []node{text("d", "1")}, want: []string{"./opt/kata/d is a file in b and a directory in a"}},
		{name: "all at once", other: []node{text("f", "2"), text("x", "3")}, want: []string{"./opt/kata/f is in", "./opt/kata/x is in"}},
		{name: "link to nothing", other: []node{link("n", "nothing"), text("y", "1")}, want: []string{"./opt/kata/n of b links to nothing, which no component has"}},
		{name: "link to a file as a directory", other: []node{link("n", "x/"), link("o", "l/."), link("p", "n")}, want: []string{"./opt/kata/n of b links to x/, which no component has as a directory", "./opt/kata/o of b", "./opt/kata/p of b"}},
		{name: "link to a directory as one", other: []node{link("n", "d/"), link("o", "m/."), link("p", "n/f")}},
		{name: "links in a circle", other: []node{link("n", "o"), link("o", "n")}, want: []string{"./opt/kata/n of b links to o", "./opt/kata/o of b links to n"}},
		{name: "links that lead on", other: []node{link("n", "m/f"), link("o", "../kata/m"), link("p", ".."), link("q", "n")}},
		{name: "extra", other: []node{text("y", "1")}, extra: "./opt/kata/y", want: []string{"./opt/kata/y is in b, and the merge adds it"}},
		{name: "extra on a directory", other: []node{text("y/z", "1")}, extra: "./opt/kata/y", want: []string{"./opt/kata/y is a file in the merge itself and a directory in b"}},
		{name: "extra of the host", other: []node{text("y", "1")}, extra: "./etc/hosts", want: []string{"belongs to the host"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var extras []Extra
			if test.extra != "" {
				extras = []Extra{{Name: test.extra}}
			}
			_, err := PlanMerge(t.Context(), []Component{a, component(t, "b", test.other...)}, extras, mergeOptions(t))
			if len(test.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	good := component(t, "good", node{name: "opt/x", mode: 0o644, data: []byte("x")})
	hostile := filepath.Join(t.TempDir(), "hostile")
	bad := lying(t, func(x *Index) { entry(x, "./opt/kata/big").Name = "./../big" })
	if err := os.WriteFile(hostile, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name       string
		components []Component
		want       []string
	}{
		{"nothing", nil, []string{"no components"}},
		{"twice", []Component{good, good}, []string{`duplicate component "good"`}},
		{"missing and hostile", []Component{good, {Name: "gone", Path: filepath.Join(t.TempDir(), "gone")}, {Name: "hostile", Path: hostile}},
			[]string{`component "gone": lstat `, `component "hostile": `, "stays inside"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := PlanMerge(t.Context(), test.components, nil, mergeOptions(t))
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		})
	}
	_, err := PlanMerge(t.Context(), []Component{good}, nil, Options{ModTime: epoch})
	checkError(t, "no cache", err, "no cache folder")
}

// TestMergeVets has components that a copy of frames would turn into a tarball that is
// not what its index says.
func TestMergeVets(t *testing.T) {
	good := component(t, "good", node{name: "opt/x", mode: 0o644, data: []byte("x")})
	write := func(name string, data []byte) Component {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return Component{Name: name, Path: path}
	}
	foreign := write("foreign", compress(emptyFiles(t, "./opt/y")))
	refused := func(want string, components ...Component) {
		t.Helper()
		_, err := PlanMerge(t.Context(), components, nil, mergeOptions(t))
		checkError(t, "PlanMerge", err, want)
	}
	lies := write("lying", lying(t, func(x *Index) { entry(x, "./opt/kata/VERSIONS").Name = "./opt/kata/VERSION2" }))
	refused(`component "lying": vetting `+lies.Path, good, lies, foreign)
	refused("another member than ./opt/kata/VERSION2 is there", good, lies, foreign)
	damaged := lying(t, func(*Index) {})
	damaged[len(damaged)/3] ^= 1
	refused(`component "damaged"`, write("damaged", damaged), good)
	// An index that calls two frames one would have a copy carry what no index names.
	refused(`the index lies`, write("hidden", lying(t, func(x *Index) { x.Frames[1].Size += x.Frames[2].Size - 13; x.Frames[2].Size = 13 })))
	for name, data := range hostile(t) {
		refused(`component "`+name+`": vetting `, write(name, data), good)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PlanMerge(ctx, []Component{good}, nil, mergeOptions(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMergeOfChangedComponent(t *testing.T) {
	components := kernelAndQEMU(t)
	m := plan(t, components)
	other := component(t, "other", node{name: "opt/other", mode: 0o644, data: []byte("x")})
	if err := os.Rename(other.Path, components[1].Path); err != nil {
		t.Fatal(err)
	}
	into := t.TempDir()
	_, err := m.Write(t.Context(), filepath.Join(into, "out"), nil)
	if err == nil || !strings.Contains(err.Error(), `component "qemu"`) || !strings.Contains(err.Error(), "has changed since the merge was planned") {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, into)
}

// TestMergeKeepsTimes merges a component that was packed with another time.
func TestMergeKeepsTimes(t *testing.T) {
	old := filepath.Join(t.TempDir(), "old")
	if _, err := Pack(t.Context(), plant(t, []node{{name: "opt/x", mode: 0o644, data: []byte("x")}}), old, Options{Level: 1, ModTime: time.Unix(7, 0)}); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	writeMerged(t, plan(t, []Component{{Name: "old", Path: old}, component(t, "new", node{name: "opt/y", mode: 0o644, data: []byte("y")})}), out)
	if err := open(t, out).check(t.Context(), discard); err != nil {
		t.Error(err)
	}
	// A merged tarball can be merged.
	again := filepath.Join(t.TempDir(), "again")
	writeMerged(t, plan(t, []Component{{Name: "merged", Path: out}, component(t, "more", node{name: "opt/z", mode: 0o644, data: []byte("z")})}), again)
	if err := open(t, again).check(t.Context(), discard); err != nil {
		t.Error(err)
	}
	content, err := open(t, again).ReadFile("opt/x")
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if data, err := io.ReadAll(content); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestDeepFolders has few bytes of names that make many directories.
func TestDeepFolders(t *testing.T) {
	deep := "./" + strings.Repeat("x/", maxDepth) + "y"
	if err := CheckMember(Member{Name: deep, Mode: 0o644}); err != nil {
		t.Error(err)
	}
	if err := CheckMember(Member{Name: "./x/" + deep[2:], Mode: 0o644}); err == nil || !strings.Contains(err.Error(), "more than 100 folders") {
		t.Errorf("deeper: %v", err)
	}
	x := &Index{Frames: make([]Frame, 1)}
	for i := range 2000 {
		name := fmt.Sprintf("./%04d%s/y", i, strings.Repeat("/"+strings.Repeat("x", 39), maxDepth-1))
		x.Frames[0].Members = append(x.Frames[0].Members, Member{Name: name, Mode: 0o644})
	}
	_, err := unite([]Part{{Name: "deep", index: x}}, nil)
	if err == nil || !strings.Contains(err.Error(), "the names of all directories take more than 8388608 bytes, from deep on") {
		t.Errorf("error %v", err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var first, second []node
	for i := range 3 * maxProblems {
		name := fmt.Sprintf("opt/%02d", i)
		first = append(first, node{name: name, mode: 0o644, data: []byte("1")})
		second = append(second, node{name: name, mode: 0o644, data: []byte("2")})
	}
	_, err := PlanMerge(t.Context(), []Component{component(t, "a", first...), component(t, "b", second...)}, nil, mergeOptions(t))
	if err == nil || !strings.Contains(err.Error(), "and 40 more problems") || strings.Count(err.Error(), "\n") != maxProblems {
		t.Errorf("error %v", err)
	}
}
