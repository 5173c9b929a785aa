package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Beside makes an empty folder next to path, to be filled and renamed to it, and returns
// it open. The caller removes it, and closes it last: until then it is locked, which
// tells the next writer of the path that it is in use. Beside removes the folders that
// killed writers left.
func Beside(path string) (*os.File, error) {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !entry.IsDir() || !isTemporary(entry.Name(), path) {
			continue
		}
		left, err := lockFolder(filepath.Join(parent, entry.Name()))
		if left != nil {
			err = errors.Join(os.RemoveAll(left.Name()), left.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("removing what a killed process left: %w", err)
		}
	}
	for {
		made, err := os.MkdirTemp(parent, temporary(path)+"*")
		if err != nil {
			return nil, err
		}
		// Another writer may have removed it before it was locked.
		if folder, err := lockFolder(made); folder != nil || err != nil {
			return folder, err
		}
	}
}

// lockFolder opens and locks a folder. The result is nil if another process has
// locked or removed it.
func lockFolder(path string) (*os.File, error) {
	folder, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var there, opened fs.FileInfo
		if there, err = os.Lstat(path); err == nil {
			opened, err = folder.Stat()
		}
		if err == nil && os.SameFile(there, opened) {
			return folder, nil
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, errors.Join(err, folder.Close())
}
