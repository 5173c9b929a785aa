package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
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

// Pending is a file that is being written beside its path. It is locked until
// it has its name, which tells Sweep that its writer lives.
type Pending struct {
	*os.File
	pending *renameio.PendingFile
	// lock shares the lock with File, which is closed before the rename.
	lock *os.File
	path string
}

// Create begins a file that Commit puts at path with exactly that mode, and
// Discard removes. It removes what killed writers of the path left.
func Create(path string, mode fs.FileMode) (*Pending, error) {
	if err := Sweep(path); err != nil {
		return nil, err
	}
	for {
		pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
		if err != nil {
			return nil, err
		}
		lock, linked, err := lockPending(pending.File)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", pending.Name(), err), pending.Cleanup())
		}
		p := &Pending{File: pending.File, pending: pending, lock: lock, path: path}
		if linked {
			return p, nil
		}
		p.Discard() // A sweep removed it before it was locked.
	}
}

func lockPending(file *os.File) (lock *os.File, linked bool, err error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, false, err
	}
	lock = os.NewFile(uintptr(fd), file.Name())
	var stat unix.Stat_t
	if err := errors.Join(unix.Flock(fd, unix.LOCK_EX), unix.Fstat(fd, &stat)); err != nil {
		return nil, false, errors.Join(err, lock.Close())
	}
	return lock, stat.Nlink > 0, nil
}

// Commit writes the file to disk and gives it its name.
func (p *Pending) Commit() error {
	if err := p.pending.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return p.lock.Close()
}

// CommitUnsynced is Commit without the wait for the disk: for a file of
// gigabytes that can be made again and is checked when it is read.
func (p *Pending) CommitUnsynced() error {
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	return errors.Join(p.Close(), p.lock.Close())
}

// Discard closes and removes the file. After a commit it does nothing.
func (p *Pending) Discard() {
	_ = p.pending.Cleanup()
	_ = p.lock.Close()
}

// temporaryDigits is how long the number in a temporary name is at least. It is
// a random one of 63 bits, so a shorter one does not happen.
const temporaryDigits = 12

// Sweep removes what killed writers of a path left next to it. Create does so too:
// Sweep is for a path that turns out to need no writing.
func Sweep(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var failed []error
	for _, entry := range entries {
		number, ok := strings.CutPrefix(entry.Name(), "."+filepath.Base(path))
		if ok && entry.Type().IsRegular() && len(number) >= temporaryDigits && strings.Trim(number, "0123456789") == "" {
			failed = append(failed, RemoveUnlocked(filepath.Join(filepath.Dir(path), entry.Name())))
		}
	}
	return errors.Join(failed...)
}

// RemoveUnlocked removes a regular file, unless somebody has it locked or it is
// gone already.
func RemoveUnlocked(path string) error {
	file, err := Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil
	case err != nil:
		return fmt.Errorf("locking %s: %w", path, err)
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
