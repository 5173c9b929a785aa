//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// cgroupNames are the groups that the engine makes below each hierarchy's root.
var cgroupNames = []string{"buildkit"}

// removeCgroups removes the empty groups that an engine leaves, in cgroup v2's
// one hierarchy or in each of v1's. One that is in use belongs to an engine of
// another cache directory.
func removeCgroups() error {
	var problems []error
	for _, name := range cgroupNames {
		for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
			roots, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			for _, root := range roots {
				problems = append(problems, removeTree(root))
			}
		}
	}
	return errors.Join(problems...)
}

// removeTree removes folders, the deepest first: the files of a cgroup cannot
// be removed and go with it.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing cgroup %s: %w", root, err)
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("removing cgroup: %w", err)
		}
	}
	return nil
}
