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

// removeCgroups removes the empty groups that an engine leaves, in cgroup v2's
// one hierarchy or in each of v1's, the deepest first: the files of a group
// cannot be removed and go with it. A group that is in use belongs to an engine
// of another cache directory.
func removeCgroups() error {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/buildkit", "/sys/fs/cgroup/*/buildkit"} {
		roots, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, root := range roots {
			// What ends meanwhile needs no removal.
			_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
		}
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("removing a cgroup: %w", err)
		}
	}
	return nil
}
