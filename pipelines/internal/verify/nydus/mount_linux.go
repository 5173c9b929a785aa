package nydus

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// onOverlay tells whether a folder is on an overlay.
func onOverlay(dir string) (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return false, fmt.Errorf("reading the file system type of %s: %w", dir, err)
	}
	return stat.Type == unix.OVERLAYFS_SUPER_MAGIC, nil
}

// unmount detaches a mount, even one that is in use.
func unmount(target string) error { return unix.Unmount(target, unix.MNT_DETACH) }
