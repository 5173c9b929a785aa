package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// lockRetry is the time between two attempts to take a lock.
const lockRetry = 50 * time.Millisecond

// ErrLocked is the error of TryLock for a lock that is held.
var ErrLocked = errors.New("another process holds the lock")

// Waiting is the note that Lock reports if it has to wait. The zero value is silent.
type Waiting struct {
	Report        *progress.Reporter
	Subject, Text string
}

// Lock locks a file, which it creates with its folders. It waits for other holders, in
// this process too, until ctx ends. The end of a process frees its locks. Lock files stay:
// removing one could let two processes hold the lock.
func Lock(ctx context.Context, path string, waiting Waiting) (unlock func(), err error) {
	return lock(ctx, path, waiting, (*flock.Flock).TryLock)
}

// LockShared takes a lock that any number of sharers may hold at a time, but not together
// with a holder of Lock.
func LockShared(ctx context.Context, path string, waiting Waiting) (unlock func(), err error) {
	return lock(ctx, path, waiting, (*flock.Flock).TryRLock)
}

// TryLock is Lock without waiting: the error of a held lock is ErrLocked.
func TryLock(path string) (unlock func(), err error) {
	file, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	held, err := file.TryLock()
	if err == nil && !held {
		err = ErrLocked
	}
	return release(file, err)
}

func lock(ctx context.Context, path string, waiting Waiting, try func(*flock.Flock) (bool, error)) (func(), error) {
	file, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		if ctx.Err() != nil {
			return release(file, context.Cause(ctx))
		}
		held, err := try(file)
		if held || err != nil {
			return release(file, err)
		}
		if first && waiting.Text != "" {
			waiting.Report.Note(waiting.Subject, waiting.Text)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockRetry):
		}
	}
}

func lockFile(path string) (*flock.Flock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of a lock: %w", err)
	}
	return flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)), nil
}

// release returns the function that frees the lock. Closing the file frees it, even if
// that reports an error.
func release(file *flock.Flock, err error) (func(), error) {
	unlock := func() { _ = file.Close() }
	if err != nil {
		unlock()
		return nil, fmt.Errorf("locking %s: %w", file.Path(), err)
	}
	return unlock, nil
}

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
		_, err := RemoveAbandoned(filepath.Join(parent, entry.Name()))
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

// RemoveAbandoned removes a folder that Beside made, unless its process lives.
func RemoveAbandoned(path string) (removed bool, err error) {
	left, err := lockFolder(path)
	if left == nil {
		return false, err
	}
	return true, errors.Join(os.RemoveAll(left.Name()), left.Close())
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
