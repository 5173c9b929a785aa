package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

func plan() recipe.Plan {
	return recipe.Plan{Recipe: recipe.Recipe{Asset: "walls", Arch: "x86_64"}, Key: "abc"}
}

// container returns a Container whose engine cannot be reached, which it says
// in a line without an end, and what it reports.
func container(t *testing.T, err error) (*Container, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	report := progress.New(&out, progress.Plain, nil)
	t.Cleanup(report.Close)
	root := t.TempDir()
	return &Container{
		Sources: &source.Fetcher{Dir: filepath.Join(root, "sources"), Offline: true},
		Ready:   func(context.Context) error { return nil },
		Connect: func(_ context.Context, log io.Writer, _ func(string)) (*engine.Session, error) {
			_, _ = io.WriteString(log, "dialing\nno answer")
			return nil, err
		},
		Work: filepath.Join(root, "work"), Logs: filepath.Join(root, "logs"), Report: report,
	}, &out
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestContainerFailure(t *testing.T) {
	gone := errors.New("the engine is gone")
	c, out := container(t, gone)
	_, err := c.Build(t.Context(), plan(), nil)
	var failure *Failure
	if !errors.As(err, &failure) || !errors.Is(err, gone) || err.Error() != gone.Error() {
		t.Fatalf("error %#v, want a Failure: %v", err, gone)
	}
	tail := []string{"walls x86_64, key abc", "== engine", "dialing", "no answer"}
	if diff := cmp.Diff(tail, failure.Tail); diff != "" {
		t.Errorf("tail (-want +got)\n%s", diff)
	}
	if failure.Asset != "walls" || failure.Log != filepath.Join(c.Logs, "walls.log") {
		t.Errorf("failure of %q, log %q", failure.Asset, failure.Log)
	}
	log, err := os.ReadFile(failure.Log)
	if text := strings.Join(tail, "\n") + "\nfailed: the engine is gone\n"; err != nil || string(log) != text {
		t.Errorf("the log is %q, %v; want %q", log, err, text)
	}
	wantEmpty(t, c.Work)
	c.Report.Note("", "") // whatever was written stands before it
	if !strings.Contains(out.String(), "engine") || !strings.Contains(out.String(), "failed") {
		t.Errorf("reported %q", out)
	}
}

func TestContainerMissingSource(t *testing.T) {
	c, _ := container(t, errors.New("not to be asked"))
	p := plan()
	p.Sources = []versions.Source{{Name: "bricks", Places: []versions.Place{{Name: "yard", URL: "http://127.0.0.1:1/", SHA256: strings.Repeat("1", 64)}}}}
	_, err := c.Build(t.Context(), p, nil)
	if err == nil || !strings.HasPrefix(err.Error(), `fetching source "bricks": `) {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, c.Work)
}

// TestContainerWithoutLog guards against a work folder that stays behind.
func TestContainerWithoutLog(t *testing.T) {
	c, _ := container(t, nil)
	if err := os.WriteFile(c.Logs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Build(t.Context(), plan(), nil); err == nil || !strings.Contains(err.Error(), "making the log folder") {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, c.Work)
}

func TestContainerFullDisk(t *testing.T) {
	c, _ := container(t, nil)
	p := plan()
	p.Disk = 1 << 60
	_, err := c.Build(t.Context(), p, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{c.Work + " has ", " free and the build needs 1.0 EiB: free some space", "--cache-dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
	}
	if _, err := os.Stat(c.Logs); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log was begun: %v", err)
	}
	wantEmpty(t, c.Work)
	if err := checkDisk(c.Work, 1); err != nil {
		t.Errorf("one byte: %v", err)
	}
}

func TestCheckWithoutKernel(t *testing.T) {
	b := &run{plan: plan()}
	err := b.check(recipe.Step{Name: "configure", Config: "/build/.config"}, nil, nil)
	if err == nil || err.Error() != "step configure declares a config, but walls declares no kernel" {
		t.Errorf("error %v", err)
	}
}

// TestCheckRefusesDebugOptions checks final configurations of a kernel that does not
// name the debug folder.
func TestCheckRefusesDebugOptions(t *testing.T) {
	kernel, err := kconfig.NewPlan(fstest.MapFS{
		kconfig.VersionFile:            {Data: []byte("188\n")},
		kconfig.ExceptionsFile:         {Data: []byte("exceptions: []\n")},
		"kernel-configs/common/a.conf": {Data: []byte("CONFIG_SMP=y\n")},
		"kernel-configs/x86_64/b.conf": {Data: []byte("CONFIG_PVH=y\n")},
		"kernel-configs/debug/c.conf":  {Data: []byte("CONFIG_DEBUG_FS=y\n")},
	}, []string{"common"}, "x86_64", "v6.18.15")
	if err != nil {
		t.Fatal(err)
	}
	b := &run{plan: recipe.Plan{Kernel: kernel}}
	err = b.check(recipe.Step{Name: "configure"}, []byte("CONFIG_SMP=y\nCONFIG_PVH=y\nCONFIG_DEBUG_FS=y\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "kernel-configs/debug/c.conf:1: CONFIG_DEBUG_FS=y is for debug kernels only") {
		t.Errorf("a leaked debug option: %v", err)
	}
}

func TestLogTail(t *testing.T) {
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	text := strings.Join(lines, "\n") + "\n"
	for _, test := range []struct {
		name, text string
		piece      int
		want       []string
	}{
		{"nothing", "", 1, []string{"walls x86_64, key abc"}},
		{"few", "one\ntwo\n", 100, []string{"walls x86_64, key abc", "one", "two"}},
		{"an empty line", "one\n\n", 100, []string{"walls x86_64, key abc", "one", ""}},
		{"many", text, 1 << 20, lines[35:]},
		{"many in small pieces", text, 3, lines[35:]},
		{"a line without an end", text + "and", 7, append(slices.Clone(lines[36:]), "and")},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "logs")
			log, err := createLog(dir, plan())
			if err != nil {
				t.Fatal(err)
			}
			for piece := range slices.Chunk([]byte(test.text), test.piece) {
				if n, err := log.Write(piece); n != len(piece) || err != nil {
					t.Fatalf("Write: %d, %v", n, err)
				}
			}
			cause := errors.New("why")
			var failure *Failure
			if err := log.failure("walls", cause); !errors.As(err, &failure) || !errors.Is(err, cause) {
				t.Fatalf("failure: %v", err)
			}
			if diff := cmp.Diff(test.want, failure.Tail); diff != "" {
				t.Errorf("tail (-want +got)\n%s", diff)
			}
			data, err := os.ReadFile(filepath.Join(dir, "walls.log"))
			want := strings.TrimSuffix("walls x86_64, key abc\n"+test.text, "\n") + "\nfailed: why\n"
			if err != nil || string(data) != want {
				t.Errorf("the log is %q, %v; want %q", data, err, want)
			}
		})
	}
}

func TestLogIsTruncatedAndEnded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "walls.log")
	if err := os.WriteFile(path, []byte(strings.Repeat("old", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := createLog(dir, plan())
	if err != nil {
		t.Fatal(err)
	}
	if err := log.done(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "walls x86_64, key abc\ndone\n" {
		t.Errorf("the log is %q, %v", data, err)
	}
	if err := log.done(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second end: %v, want %v", err, os.ErrClosed)
	}
}

func TestStage(t *testing.T) {
	files := []recipe.Content{
		recipe.NewContent("assets/house/build.sh", []byte("#!/bin/sh\n"), true),
		recipe.NewContent("assets/house/patches/1.patch", []byte("\x00\xff\r\n"), false),
		recipe.NewContent("empty", nil, false),
	}
	dir := filepath.Join(t.TempDir(), "files")
	if err := stage(dir, files); err != nil {
		t.Fatal(err)
	}
	// What lies there has the hashes and modes that made the key.
	got, err := recipe.NewTree(os.DirFS(dir)).Below(".")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		info, err := os.Stat(filepath.Join(dir, got[i].Path))
		if err != nil {
			t.Fatal(err)
		}
		if mode := fmt.Sprintf("%04o", info.Mode().Perm()); mode != files[i].Mode {
			t.Errorf("%s has mode %s, want %s", got[i].Path, mode, files[i].Mode)
		}
		if diff := cmp.Diff(files[i].File, got[i].File); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	if len(got) != len(files) {
		t.Errorf("%d files, want %d", len(got), len(files))
	}
	blocked := recipe.NewContent("empty/below", nil, false)
	if err := stage(dir, []recipe.Content{blocked}); err == nil || !strings.HasPrefix(err.Error(), "laying out empty/below: ") {
		t.Errorf("a file in a file: %v", err)
	}
}
