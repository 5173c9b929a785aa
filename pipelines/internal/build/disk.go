package build

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// checkDisk makes the folder that a build works in and refuses to begin where
// its file system has less than need bytes free.
func checkDisk(dir string, need int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the work folder: %w", err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	// Bsize is of another type on each architecture.
	free := int64(stat.Bavail * uint64(stat.Bsize))
	if free < need {
		return fmt.Errorf("%s has %s free and the build needs %s: free some space, or put the cache elsewhere with --cache-dir",
			dir, progress.Size(free), progress.Size(need))
	}
	return nil
}
