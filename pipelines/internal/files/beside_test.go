package files

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// TestBeside has a folder in use, one of a killed process, and one of another path.
func TestBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "[image]")
	used, err := Beside(path)
	require.NoError(t, err)
	killed, err := Beside(path)
	if err != nil || killed.Close() != nil { // The end of a process closes it.
		t.Fatal(err)
	}
	other, err := Beside(path + "2")
	if err != nil || other.Close() != nil {
		t.Fatal(err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(killed.Name(), "blob"), nil, 0o400))
	next, err := Beside(path)
	require.NoError(t, err)
	for name, want := range map[string]bool{used.Name(): true, killed.Name(): false, other.Name(): true, next.Name(): true} {
		if Exists(name) != want {
			t.Errorf("%s is there: %v, want %v", name, !want, want)
		}
	}
}

// TestBesideOfMany has writers that sweep while others begin: none loses its folder.
func TestBesideOfMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				folder, err := Beside(path)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(folder.Name(), "blob"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := os.RemoveAll(folder.Name()); err != nil {
					t.Error(err)
				}
				_ = folder.Close()
			}
		})
	}
	group.Wait()
}
