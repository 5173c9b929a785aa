package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
)

// The locks below engine/: "lock" is held while the engine is started or
// stopped, "build.lock" while its programs are compiled, and "in-use" is shared
// by all who use the engine or its programs.

const (
	waitingForStart = "waiting for another process that starts or stops the engine"
	// hostLock is held while the network of the machine is changed, which the
	// engines of all cache directories share.
	hostLock        = "/run/kata-pipelines.lock"
	hostLockTimeout = time.Minute
)

func lockHost(ctx context.Context) (unlock func(), err error) {
	return host.Lock(ctx, hostLock, func() {})
}

func (m *Manager) lock(ctx context.Context, name, waiting string) (unlock func(), err error) {
	path, err := m.lockPath(name)
	if err != nil {
		return nil, err
	}
	return host.Lock(ctx, path, func() { m.note(waiting) })
}

// Use keeps the engine and its programs from being replaced or removed until
// release is called or the process ends.
func (m *Manager) Use(ctx context.Context) (release func() error, err error) {
	path, err := m.lockPath("in-use")
	if err != nil {
		return nil, err
	}
	return host.LockShared(ctx, path, func() { m.note(waitingForStart) })
}

// unused says whether nobody uses the engine or its programs, and keeps it so
// until release.
func (m *Manager) unused() (free bool, release func(), err error) {
	path, err := m.lockPath("in-use")
	if err != nil {
		return false, nil, err
	}
	lock := flock.New(path)
	if free, err = lock.TryLock(); err != nil {
		return false, nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), lock.Close())
	}
	return free, func() { _ = lock.Close() }, nil
}

func (m *Manager) lockPath(name string) (string, error) {
	if err := os.MkdirAll(m.dir(), 0o755); err != nil {
		return "", fmt.Errorf("making the engine's folder: %w", err)
	}
	return filepath.Join(m.dir(), name), nil
}
