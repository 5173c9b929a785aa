package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// locksFolder is beside the layouts; no asset has such a name.
const locksFolder = ".locks"

// lockRetry is how often a lock that another process holds is tried.
const lockRetry = 50 * time.Millisecond

// Lock keeps other processes, and other callers in this one, from building the
// same artifact. It waits for them, which it notes, until ctx ends. A holder
// that dies frees the lock. Lock files stay behind: removing one could leave two
// holders.
func (s *Store) Lock(ctx context.Context, ref Ref) (unlock func() error, err error) {
	if err := ref.validate(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, locksFolder, ref.Asset, ref.Tag())
	return s.flock(ctx, path, fmt.Sprintf("waiting for another build of %s with the key %s", ref.Asset, ref.Key))
}

// flock locks a file that it makes where needed. The text, if any, is noted when
// it has to wait.
func (s *Store) flock(ctx context.Context, path, waiting string) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for locks: %w", err)
	}
	lock := flock.New(path)
	locked, err := lock.TryLock()
	if err == nil && !locked {
		if waiting != "" {
			s.say(waiting)
		}
		_, err = lock.TryLockContext(ctx, lockRetry)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), lock.Close())
	}
	return lock.Unlock, nil
}
