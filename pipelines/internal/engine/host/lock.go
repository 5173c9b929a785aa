package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a lock that somebody has is asked for again.
const lockPoll = 100 * time.Millisecond

// Lock takes a lock file for this process alone; waiting is called once if
// somebody has it. The end of a process releases its locks.
func Lock(ctx context.Context, path string, waiting func()) (release func(), err error) {
	lock := flock.New(path)
	if err := take(ctx, lock, lock.TryLock, waiting); err != nil {
		return nil, err
	}
	// The kernel drops the lock even where closing the file reports an error.
	return func() { _ = lock.Close() }, nil
}

// LockShared takes a lock file that any number of processes may share.
func LockShared(ctx context.Context, path string, waiting func()) (release func() error, err error) {
	lock := flock.New(path)
	return lock.Close, take(ctx, lock, lock.TryRLock, waiting)
}

func take(ctx context.Context, lock *flock.Flock, try func() (bool, error), waiting func()) error {
	for first := true; ; first = false {
		held, err := try()
		if err != nil {
			return fmt.Errorf("locking %s: %w", lock.Path(), err)
		}
		if held {
			return nil
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for the lock %s: %w", lock.Path(), ctx.Err()), lock.Close())
		case <-time.After(lockPoll):
		}
	}
}
