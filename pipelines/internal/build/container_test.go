package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

func plan() recipe.Plan {
	return recipe.Plan{Recipe: recipe.Recipe{Asset: "walls", Arch: "x86_64"}, Key: "abc"}
}

// unreachable is the address of an engine that does not answer.
const unreachable = "unix:///nonexistent/engine.sock"

// container returns a Container whose engine cannot be reached, and what it
// reports.
func container(t *testing.T) (*Container, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	report := progress.New(&out, progress.Plain, nil)
	t.Cleanup(report.Close)
	root := t.TempDir()
	return &Container{
		Engine:  engine.Finder{Named: unreachable},
		Sources: &source.Fetcher{Dir: filepath.Join(root, "sources"), Offline: true},
		Work:    filepath.Join(root, "work"), Logs: filepath.Join(root, "logs"), Report: report,
	}, &out
}

// listen returns the address of something that accepts connections.
func listen(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "tcp://" + listener.Addr().String()
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestContainerFailure(t *testing.T) {
	c, out := container(t)
	p := plan()
	p.Recipe.Secrets = []recipe.Secret{{Name: "PIN"}}
	c.Secrets = map[string]string{"PIN": "nonexistent"}
	_, err := c.Build(t.Context(), p, nil)
	var failure *Failure
	if !errors.As(err, &failure) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %#v, want a Failure", err)
	}
	const want = "connecting to the named engine: dial unix /***/engine.sock: connect: no such file or directory"
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	tail := []string{"walls x86_64, key abc", "== engine"}
	if diff := cmp.Diff(tail, failure.Tail); diff != "" {
		t.Errorf("tail (-want +got)\n%s", diff)
	}
	if failure.Log != filepath.Join(c.Logs, "walls-x86_64.log") {
		t.Errorf("the log is %q", failure.Log)
	}
	log, err := os.ReadFile(failure.Log)
	if text := strings.Join(tail, "\n") + "\nfailed: " + want + "\n"; err != nil || string(log) != text {
		t.Errorf("the log is %q, %v; want %q", log, err, text)
	}
	wantEmpty(t, c.Work)
	c.Report.Note("", "") // it comes after whatever was written
	if !strings.Contains(out.String(), "engine") || !strings.Contains(out.String(), "failed") {
		t.Errorf("reported %q", out)
	}
}

// Two architectures of an asset have two logs.
func TestLogsOfTwoArchitectures(t *testing.T) {
	c, _ := container(t)
	for _, arch := range []string{"x86_64", "aarch64"} {
		p := plan()
		p.Recipe.Arch = arch
		if _, err := c.Build(t.Context(), p, nil); err == nil {
			t.Fatal("no error")
		}
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		data, err := os.ReadFile(filepath.Join(c.Logs, "walls-"+arch+".log"))
		if err != nil || !strings.HasPrefix(string(data), "walls "+arch+", key abc\n") {
			t.Errorf("%s: %q, %v", arch, data, err)
		}
	}
}

// TestContainerMissingSource also has what a killed build left.
func TestContainerMissingSource(t *testing.T) {
	c, _ := container(t)
	left, err := files.Beside(filepath.Join(c.Work, "build"))
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(left.Name(), "out"), 0o755), left.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	p := plan()
	p.Sources = []versions.Source{{Name: "bricks", Places: []versions.Place{{Name: "yard", URL: "http://127.0.0.1:1/", SHA256: strings.Repeat("1", 64)}}}}
	_, err = c.Build(t.Context(), p, nil)
	if err == nil || !strings.HasPrefix(err.Error(), `fetching source "bricks": `) {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, c.Work)
}

// TestContainerWithoutLog guards against a work folder that stays behind.
func TestContainerWithoutLog(t *testing.T) {
	c, _ := container(t)
	if err := os.WriteFile(c.Logs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Build(t.Context(), plan(), nil); err == nil || !strings.Contains(err.Error(), "making the log folder") {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, c.Work)
}

// TestCheck wants every problem of every step reported, and nothing begun.
func TestCheck(t *testing.T) {
	c, _ := container(t)
	c.Engine = engine.Finder{}
	t.Setenv("PATH", t.TempDir()) // no container runtime
	c.Secrets = map[string]string{"OTHER_PIN": "\n", "SET": "value"}
	signed, huge := plan(), plan()
	signed.Recipe.Secrets = []recipe.Secret{{Name: "KBUILD_SIGN_PIN"}, {Name: "OTHER_PIN"}, {Name: "SET"}}
	huge.Recipe.Asset, huge.Disk = "huge", 1<<60
	floating := Absent{Source: "linux", Places: []string{"git:https://linux.example@main"}}
	absent := Absent{Source: "bricks", Places: []string{"https://yard.example"}, Pinned: true}
	steps := []Step{
		{Asset: "walls", Resolved: signed, Absent: []Absent{floating, absent, {Source: "mortar"}}},
		{Asset: "huge", State: Pending, Resolved: huge},
	}
	wanted := []string{
		`building "walls": walls declares secrets that are not set in the environment: set KBUILD_SIGN_PIN, OTHER_PIN`,
		`building "walls": source linux cannot be used: git:https://linux.example@main has no pinned hash or commit`,
		`building "walls": source mortar cannot be used: it has no place of the name in --place`,
		"building huge: " + c.Work + " has ", " free and 1.0 EiB is needed: free some space", "--cache-dir",
		engine.ErrNoEngine.Error(),
	}
	offline := "building \"walls\": source bricks is in no cache, and --offline fetches nothing: run `pipelines source fetch walls` online, or give it with --source bricks=PATH"
	err := c.Check(t.Context(), steps, 1)
	for _, want := range wanted {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %q", err, want)
		}
	}
	if strings.Contains(err.Error(), offline) {
		t.Errorf("online, error %v", err)
	}
	c.Offline = true
	if err := c.Check(t.Context(), steps, 1); !strings.Contains(err.Error(), offline) {
		t.Errorf("offline, error %v", err)
	}
	for _, dir := range []string{c.Work, c.Logs} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made: %v", dir, err)
		}
	}
	fine := []Step{{Asset: "walls", Resolved: plan()}}
	c.Engine.Named = unreachable
	if err := c.Check(t.Context(), fine, 1); err == nil || !strings.Contains(err.Error(), "connecting to the named engine") {
		t.Errorf("an engine that does not answer: %v", err)
	}
	c.Engine.Named = listen(t)
	if err := c.Check(t.Context(), fine, 1); err != nil {
		t.Errorf("without a problem: %v", err)
	}
}

// Concurrent builds need their disk space at the same time.
func TestCheckDiskOfParallelBuilds(t *testing.T) {
	c, _ := container(t)
	if err := os.MkdirAll(c.Work, 0o755); err != nil {
		t.Fatal(err)
	}
	free, err := files.Free(c.Work)
	if err != nil {
		t.Fatal(err)
	}
	c.Engine.Named = listen(t)
	p := plan()
	p.Disk = free/2 + free/8
	steps := []Step{{Asset: "a", Resolved: p}, {Asset: "b", Resolved: p}, {Asset: "c", Resolved: p}}
	if err := c.Check(t.Context(), steps, 1); err != nil {
		t.Errorf("one at a time: %v", err)
	}
	if err := c.Check(t.Context(), steps, 2); !files.IsFull(err) {
		t.Errorf("two at once: %v", err)
	}
}

func TestStage(t *testing.T) {
	files := []recipe.Content{
		recipe.NewContent("assets/house/build.sh", []byte("#!/bin/sh\n")),
		recipe.NewContent("assets/house/patches/1.patch", []byte("\x00\xff\r\n")),
		recipe.NewContent("empty", nil),
	}
	dir := filepath.Join(t.TempDir(), "files")
	if err := stage(dir, files); err != nil {
		t.Fatal(err)
	}
	// The files have the hashes and modes that went into the key.
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
	blocked := recipe.NewContent("empty/below", nil)
	if err := stage(dir, []recipe.Content{blocked}); err == nil || !strings.HasPrefix(err.Error(), "laying out empty/below: ") {
		t.Errorf("a file in a file: %v", err)
	}
}
