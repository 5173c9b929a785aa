// Package verifytest has what the tests of all families need: tarballs made of a
// few files, and a machine whose programs are shell scripts.
package verifytest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Tree is the content of a tarball by path. Content that begins with "-> " makes a
// link.
type Tree map[string]string

// Pack makes a tarball and returns its path. Files have mode 0644, those of the
// given paths 0755.
func (files Tree) Pack(t testing.TB, executables ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		mode := fs.FileMode(0o644)
		if slices.Contains(executables, name) {
			mode = 0o755
		}
		if target, is := strings.CutPrefix(content, "-> "); is {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "kata-static-test.tar.zst")
	if _, err := archive.Pack(t.Context(), dir, out, archive.Options{Level: 1, ModTime: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	return out
}

// NoBoot is a machine on which nothing is started.
var NoBoot = host.Host{Skip: "not in this test"}

// Host returns a machine that has only these programs, as shell scripts by name.
// The folder of the programs is also the root of its repository.
func Host(t testing.TB, scripts map[string]string) host.Host {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return host.Host{Root: dir, Tools: dir, Accelerator: "tcg", Timeout: 10 * time.Second, Grace: 200 * time.Millisecond}
}

// Run verifies an artifact. A check that the family does not name is an error,
// because no caller could require it.
func Run(t testing.TB, f verify.Family, a verify.Artifact, h host.Host) *report.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), f, a, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range r.Checks {
		if !slices.Contains(f.Checks(), check.Name) {
			t.Errorf("the family does not name its check %q", check.Name)
		}
	}
	return r
}

// Find returns a check of a report.
func Find(t testing.TB, r *report.Report, name string) report.Check {
	t.Helper()
	for _, check := range r.Checks {
		if check.Name == name {
			return check
		}
	}
	t.Fatalf("no check %q in %+v", name, r.Checks)
	return report.Check{}
}
