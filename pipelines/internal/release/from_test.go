package release

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// TestHostileFolder has folders with the tarballs that package archive refuses, and
// with other files: none becomes a layer.
func TestHostileFolder(t *testing.T) {
	hostile, err := filepath.Glob(filepath.Join("..", "archive", "testdata", "hostile", "*.tar.zst"))
	if err != nil || len(hostile) < 40 {
		t.Fatalf("%d hostile tarballs, %v", len(hostile), err)
	}
	other := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": "#!/usr/bin/python3\n", "gzip": "\x1f\x8b\x08\x00"} {
		hostile = append(hostile, filepath.Join(other, name))
		if err := os.WriteFile(filepath.Join(other, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ws := &workspace.Workspace{Folders: workspace.Folders{Cache: t.TempDir()}}
	for _, from := range append(hostile, os.DevNull, other, filepath.Join(other, "missing")) {
		dir := t.TempDir()
		at, err := filepath.Abs(from)
		if err = errors.Join(err, os.Symlink(at, filepath.Join(dir, build.TarballName("x")))); err != nil {
			t.Fatal(err)
		}
		if _, err := ComponentsIn(t.Context(), ws, dir, []string{"x"}, catalog.X86_64); err == nil {
			t.Errorf("%s was taken", from)
		}
	}
}

// TestComponentsInListsAll gives each component of a folder a different problem: the error
// lists them all.
func TestComponentsInListsAll(t *testing.T) {
	dir := t.TempDir()
	err := errors.Join(os.Mkdir(filepath.Join(dir, build.TarballName("folder")), 0o755),
		os.WriteFile(filepath.Join(dir, build.TarballName("text")), []byte("no tarball"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	ws := &workspace.Workspace{Folders: workspace.Folders{Cache: t.TempDir()}}
	_, err = ComponentsIn(t.Context(), ws, dir, []string{"folder", "missing", "text"}, catalog.X86_64)
	for _, want := range []string{"kata-static-folder.tar.zst is not a regular file", "lacks kata-static-missing.tar.zst", "component text: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
}
