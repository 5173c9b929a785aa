package payload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestReplaceIsAtomic looks at a folder while it is replaced: at no moment is it missing,
// so that a kill cannot leave nothing there.
func TestReplaceIsAtomic(t *testing.T) {
	temp := t.TempDir()
	dir, fresh, old := filepath.Join(temp, "layout"), filepath.Join(temp, "new"), filepath.Join(temp, "old")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	replaced := make(chan error, 1)
	go func() {
		var err error
		for range 200 {
			err = errors.Join(err, os.Mkdir(fresh, 0o755), replace(dir, fresh, old), os.RemoveAll(fresh), os.RemoveAll(old))
		}
		replaced <- err
	}()
	for missing := 0; ; {
		select {
		case err := <-replaced:
			if err != nil || missing > 0 {
				t.Errorf("missing %d times, %v", missing, err)
			}
			return
		default:
			if _, err := os.Lstat(dir); err != nil {
				missing++
			}
		}
	}
}
