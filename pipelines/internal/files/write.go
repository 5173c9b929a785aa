package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Write writes a file that appears complete or not at all, with exactly that
// mode. It is on disk when Write returns.
func Write(path string, data []byte, mode fs.FileMode) error {
	pending, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer pending.Discard()
	if _, err := pending.Write(data); err != nil {
		return err
	}
	return pending.Commit()
}

// Pending is a file that is being written next to its path. It is locked until it has its
// name, which tells Sweep that its writer is alive.
type Pending struct {
	*os.File
	path string
}

// Create begins a file that Commit moves to path with exactly that mode, and Discard
// removes. It removes the files that killed writers of the path left.
func Create(path string, mode fs.FileMode) (*Pending, error) {
	if err := Sweep(path); err != nil {
		return nil, err
	}
	for {
		file, err := os.CreateTemp(filepath.Dir(path), temporary(path)+"*")
		if err != nil {
			return nil, err
		}
		p := &Pending{file, path}
		var stat unix.Stat_t
		err = errors.Join(unix.Flock(int(p.Fd()), unix.LOCK_EX), unix.Fstat(int(p.Fd()), &stat), p.Chmod(mode))
		if err == nil && stat.Nlink > 0 {
			return p, nil
		}
		p.Discard()
		if err != nil {
			return nil, fmt.Errorf("creating %s: %w", p.Name(), err)
		}
		// A sweep removed it before it was locked.
	}
}

// temporary is the beginning of the name of a file or a folder while it is written; digits
// follow.
func temporary(path string) string { return "." + filepath.Base(path) + ".tmp" }

// isTemporary reports whether a name is one of those.
func isTemporary(name, path string) bool {
	number, ok := strings.CutPrefix(name, temporary(path))
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// Commit writes the file to disk and gives it its name.
func (p *Pending) Commit() error {
	if err := p.Sync(); err != nil {
		return err
	}
	return p.CommitUnsynced()
}

// CommitUnsynced is Commit without waiting for the disk: for a file of gigabytes that can
// be made again and is checked when it is read.
func (p *Pending) CommitUnsynced() error {
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	return p.Close()
}

// Discard closes and removes the file. After a commit it does nothing.
func (p *Pending) Discard() {
	_ = os.Remove(p.Name())
	_ = p.Close()
}

// Sweep removes the unlocked files that killed writers of a path left next to it. Create
// does so too: Sweep is for a path that turns out to need no writing.
func Sweep(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var failed []error
	for _, entry := range entries {
		if entry.Type().IsRegular() && isTemporary(entry.Name(), path) {
			failed = append(failed, removeUnlocked(filepath.Join(filepath.Dir(path), entry.Name())))
		}
	}
	return errors.Join(failed...)
}

func removeUnlocked(path string) error {
	file, err := Open(path)
	if err == nil {
		defer file.Close()
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
