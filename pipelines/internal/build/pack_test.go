package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

func newLog(t *testing.T) *progress.Log {
	t.Helper()
	log, err := progress.CreateLog(filepath.Join(t.TempDir(), "log"), "title", nil)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestCheckOutputs(t *testing.T) {
	for name, test := range map[string]struct {
		made     []string
		file     string
		declared []string
		want     string
	}{
		"none":       {},
		"both":       {made: []string{"modules", "debug"}, declared: []string{"debug", "modules"}},
		"missing":    {made: []string{"modules"}, declared: []string{"debug", "modules"}, want: `"debug" is declared, but no step made $OUTPUTS/debug`},
		"undeclared": {made: []string{"modules", "more"}, declared: []string{"modules"}, want: "made $OUTPUTS/more, but outputs has modules"},
		"none of it": {made: []string{"more"}, want: "outputs has nothing"},
		"a file":     {file: "modules", declared: []string{"modules"}, want: "$OUTPUTS/modules is not a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, made := range test.made {
				if err := os.Mkdir(filepath.Join(dir, made), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if test.file != "" {
				if err := os.WriteFile(filepath.Join(dir, test.file), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := checkOutputs(dir, test.declared)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if err := checkOutputs(filepath.Join(t.TempDir(), "none"), nil); err != nil {
		t.Errorf("no folder: %v", err)
	}
}

func TestPackOutputs(t *testing.T) {
	p := plan()
	p.Recipe.Output = recipe.Output{Level: 1, Outputs: []string{"empty", "modules"}}
	b := &run{Container: &Container{}, plan: p, work: t.TempDir(), log: newLog(t)}
	out, outputs := filepath.Join(b.work, "out"), filepath.Join(b.work, "outputs")
	for _, path := range []string{filepath.Join(out, "opt/kata/main"), filepath.Join(outputs, "modules/lib/m.ko"), filepath.Join(outputs, "empty/opt/none")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "none" {
			if err := os.WriteFile(path, []byte(path), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := b.pack(t.Context(), out, outputs, nil); err == nil || !strings.HasPrefix(err.Error(), `packing kata-static-walls-empty.tar.zst: `) {
		t.Errorf("an output without content: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(outputs, "empty")); err != nil {
		t.Fatal(err)
	}
	b.plan.Recipe.Output.Outputs = []string{"modules"}
	built, err := b.pack(t.Context(), out, outputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for tarball, want := range map[string]string{built.Tarballs[""]: "./opt/kata/main", built.Tarballs["modules"]: "./lib/m.ko"} {
		listing, err := archive.Inspect(tarball)
		members := listing.Members
		if err != nil || members[len(members)-1].Name != want {
			t.Errorf("%s: %v, %v, want %s", tarball, members, err, want)
		}
	}
	if name := filepath.Base(built.Tarballs["modules"]); name != "kata-static-walls-modules.tar.zst" {
		t.Errorf("file name %s", name)
	}
}
