package archive

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestReframeAgain has copies in the folder that cannot be trusted, and what a
// killed merge leaves there.
func TestReframeAgain(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(foreign, compress(emptyFiles(t, "./opt/y")), 0o644); err != nil {
		t.Fatal(err)
	}
	options := mergeOptions(t)
	copyOf := func() string {
		t.Helper()
		m, err := PlanMerge(t.Context(), []Component{{Name: "foreign", Path: foreign}}, nil, options)
		if err != nil {
			t.Fatal(err)
		}
		return m.Parts[0].Path
	}
	path := copyOf()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data := lying(t, func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/bug" })
	valid, _ := pack(t, plant(t, sample()), 1)
	another, err := os.ReadFile(valid)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"lying": data, "cut": want[:50], "empty": {}, "another": another} {
		if err := errors.Join(os.WriteFile(path, data, 0o644), os.WriteFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp1234567890"), data, 0o644)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(copyOf()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(want), err)
		}
		if entries, err := os.ReadDir(filepath.Join(options.Cache, "reframed")); err != nil || len(entries) != 2 {
			t.Errorf("%s: left in the folder: %v, %v", name, entries, err)
		}
	}
	// Several at once do not disturb each other.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			_, err := PlanMerge(t.Context(), []Component{{Name: "foreign", Path: foreign}}, nil, options)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMergeForeign(t *testing.T) {
	dir := plant(t, []node{
		{name: "opt/kata/bin/tool", mode: 0o775, data: code(100_000, 1)},
		{name: "opt/kata/big", mode: 0o664, data: code(testFrame+100, 2)},
		{name: "opt/kata/link", link: "bin/tool"},
	})
	foreign := filepath.Join(t.TempDir(), "kata-static-tool.tar.zst")
	shell := exec.CommandContext(t.Context(), "sh", "-ec", `tar -C "$1" --sort=none --owner=user:1000 -c . | zstd -q -o "$2"`, "sh", dir, foreign)
	if text, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	components := append(kernelAndQEMU(t), Component{Name: "tool", Path: foreign})
	options := mergeOptions(t)
	first, err := PlanMerge(t.Context(), components, nil, options)
	if err != nil {
		t.Fatal(err)
	}
	part := first.Parts[3]
	if !part.Reframed || filepath.Dir(part.Path) != filepath.Join(options.Cache, "reframed") || len(part.Members) != 3 {
		t.Errorf("planned %+v", part)
	}
	before, err := os.Stat(part.Path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := PlanMerge(t.Context(), components, nil, options)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(second.Parts[3].Path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("written once more: %v", err)
	}
	out := filepath.Join(t.TempDir(), "out")
	writeMerged(t, second, out)
	file := open(t, out)
	if err := file.check(t.Context(), discard); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{"./opt/kata/bin/tool": 0o755, "./opt/kata/big": 0o644, "./opt/kata/link": fs.ModeSymlink | 0o777} {
		if m := entry(file.Index(), name); m.Mode != want {
			t.Errorf("%s has mode %s, want %s", name, m.Mode, want)
		}
	}
}

func TestMergeForeignHostile(t *testing.T) {
	for name, test := range map[string]struct {
		nodes []string
		want  string
	}{
		"twice":      {[]string{"./opt/x", "./opt/x"}, "duplicate member"},
		"below file": {[]string{"./opt/x", "./opt/x/y"}, "which is not a directory"},
		"escape":     {[]string{"../x"}, "stays inside"},
	} {
		t.Run(name, func(t *testing.T) {
			foreign := filepath.Join(t.TempDir(), "foreign")
			if err := os.WriteFile(foreign, compress(emptyFiles(t, test.nodes...)), 0o644); err != nil {
				t.Fatal(err)
			}
			options := mergeOptions(t)
			_, err := PlanMerge(t.Context(), []Component{{Name: "foreign", Path: foreign}}, nil, options)
			if err == nil || !strings.Contains(err.Error(), `component "foreign"`) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if entries, err := os.ReadDir(filepath.Join(options.Cache, "reframed")); err == nil && len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}
