package files

import (
	"context"
	"errors"
	"fmt"
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
