package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// fits makes sure that a folder's disk has room for so many bytes; the error is
// *diskError with ENOSPC behind it.
func fits(folder string, need int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", folder, err)
	}
	// Bsize is of another type on each architecture.
	if free := int64(stat.Bavail * uint64(stat.Bsize)); free < need {
		return &diskError{fmt.Errorf("%s are free: %w", progress.Size(free), syscall.ENOSPC)}
	}
	return nil
}

// roomier adds to the error of a full disk how much was needed, and what helps.
func roomier(err error, folder string, need int64) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s needs room for %s: free some, or put the cache elsewhere with --cache-dir: %w", folder, progress.Size(need), err)
	}
	return err
}

// missing returns how many bytes of some blobs the layout does not hold.
func (l *layout) missing(blobs []ocispec.Descriptor) (size int64) {
	for _, d := range blobs {
		if _, err := os.Stat(l.path(d.Digest)); errors.Is(err, fs.ErrNotExist) {
			size += d.Size
		}
	}
	return size
}

// temporaryOf tells whether a file name is one that os.CreateTemp made for
// another: behind the mark are digits.
func temporaryOf(name, of string) bool {
	random, found := strings.CutPrefix(name, of+tempMark)
	return found && random != "" && strings.Trim(random, "0123456789") == ""
}

// old tells whether nobody has written to a file for long.
func old(info fs.FileInfo) bool { return time.Since(info.ModTime()) > abandoned }

// temporary makes the file that is going to be the one at a path. It is locked until
// it is closed, which tells others that somebody lives who writes to it.
func temporary(path string) (*os.File, error) {
	for {
		file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempMark+"*")
		if err != nil {
			return nil, err
		}
		var stat unix.Stat_t
		err = errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_EX), unix.Fstat(int(file.Fd()), &stat))
		if err == nil && stat.Nlink > 0 {
			return file, nil
		}
		// A sweep may have had it before it was locked.
		_ = file.Close()
		if err != nil {
			os.Remove(file.Name())
			return nil, err
		}
	}
}

// sweep removes what killed exports to a path left beside it.
func (s *Store) sweep(path string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if ignoreMissing(err) != nil {
		s.tell(fmt.Sprintf("cannot look for what killed exports left: %v", err))
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !temporaryOf(entry.Name(), filepath.Base(path)) {
			continue
		}
		if err := removeUnlocked(filepath.Join(filepath.Dir(path), entry.Name())); ignoreMissing(err) != nil {
			s.tell(fmt.Sprintf("cannot remove what a killed export left: %v", err))
		}
	}
}

// removeUnlocked removes a file, unless somebody has it locked.
func removeUnlocked(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil
	case err != nil:
		return err
	}
	return os.Remove(path)
}
