package files

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// touchEvery is the precision of the times of last use: a file that is used again sooner
// is not written to.
const touchEvery = time.Hour

// Uses are the files of a cache that this process uses. The modification time of a file
// is its last use, and a shared lock on the file tells Claim that it is in use. The zero
// value is ready to use.
type Uses struct{ held sync.Map }

// Use records the use of a file, which lasts until Release or the end of the process. It
// is false if the file is gone, or is about to be removed. Where this process may not
// write, the time stays as it is; where there are no locks, nothing keeps the file.
func (u *Uses) Use(path string) bool {
	if held, found := u.held.Load(path); found && sameFile(path, held.(*os.File)) {
		return true
	}
	file, err := Open(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || !sameFile(path, file) {
		_ = file.Close()
		return false
	}
	Touch(path)
	if before, found := u.held.Swap(path, file); found {
		_ = before.(*os.File).Close()
	}
	return true
}

// Release ends all uses.
func (u *Uses) Release() {
	u.held.Range(func(path, held any) bool {
		u.held.Delete(path)
		_ = held.(*os.File).Close()
		return true
	})
}

// Touch records the use of a file without keeping it.
func Touch(path string) {
	now := time.Now()
	if info, err := os.Lstat(path); err == nil && now.Sub(info.ModTime()) > touchEvery {
		_ = os.Chtimes(path, now, now)
	}
}

func sameFile(path string, file *os.File) bool {
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(there, opened)
}

// Claim keeps other processes from using a file, so that the caller can remove it. The
// error is ErrLocked if one uses it, or used it after the given time of its last use.
func Claim(path string, used time.Time) (release func(), err error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if info, statErr := file.Stat(); err == nil && statErr == nil && info.ModTime().After(used) {
		err = ErrLocked
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

// RemoveUnused removes a file that no process uses and that was not used after a time. A
// file that is gone counts as removed.
func RemoveUnused(path string, used time.Time) (removed bool, err error) {
	release, err := Claim(path, used)
	switch {
	case errors.Is(err, ErrLocked):
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	}
	defer release()
	return true, os.Remove(path)
}
