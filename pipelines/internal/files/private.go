package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// examined is how many levels below a folder Private checks: deeper files are checked by
// their digests, or belong to the users of a container.
const examined = 3

// Private fails unless a folder, all above it and the files below it belong to
// one of the owners, and no other user may write there: what root runs, overwrites
// or removes must not be another user's choice. The folder need not exist yet. The
// error names the command that fixes it.
func Private(dir string, owners ...int) error {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = through(dir, owners)
	}
	if real == "" || err != nil {
		return err
	}
	return filepath.WalkDir(real, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = private(path, owners, 0)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // Removed in the meantime.
		case err != nil:
			return fmt.Errorf("%w; remove what they may have put there: `rm -r %s`", err, path)
		case entry.IsDir() && strings.Count(strings.TrimPrefix(path, real), "/") == examined:
			return fs.SkipDir
		}
		return nil
	})
}

// through checks every folder on a path, and the targets of its links. Others may write in
// a folder such as /tmp, where users can only remove their own files.
func through(path string, owners []int) error {
	parent := filepath.Dir(path)
	if parent != path {
		if err := through(parent, owners); err != nil {
			return err
		}
	}
	err := private(path, owners, fs.ModeSticky)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; name another folder with --cache-dir, or run `chown -h root %[2]s && chmod go-w %[2]s`", err, path)
	}
	target, err := os.Readlink(path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil // Not a link.
	case err != nil:
		return err
	case !filepath.IsAbs(target):
		target = filepath.Join(parent, target)
	}
	return through(target, owners)
}

// private checks one file. Others may write to it if it has the allowed mode.
func private(path string, owners []int, allows fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("%s has no owner", path)
	case !slices.Contains(owners, int(stat.Uid)):
		return fmt.Errorf("%s belongs to user %d", path, stat.Uid)
	case info.Mode().Type()&(fs.ModeSymlink|fs.ModeSocket) != 0 || info.Mode()&allows != 0:
		return nil // Whoever may write in the folder decides.
	case info.Mode()&0o002 != 0 || info.Mode()&0o020 != 0 && stat.Gid != 0:
		return fmt.Errorf("other users may write in %s (mode %s)", path, info.Mode())
	}
	return nil
}
