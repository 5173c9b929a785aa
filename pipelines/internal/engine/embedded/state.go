//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// state describes a running engine for later commands, in engine.json.
type state struct {
	Supervisor process `json:"supervisor"`
	// Init is process 1 of the engine's namespaces.
	Init process `json:"init"`
	// Build is the folder of the programs that run.
	Build string `json:"build"`
}

// process identifies a process by its number and its start time, in clock ticks
// since boot, because the kernel reuses numbers.
type process struct {
	PID   int    `json:"pid"`
	Began string `json:"began"`
}

// identify describes a running process.
func identify(pid int) (process, error) {
	began, err := startTime(pid)
	if err != nil {
		return process{}, fmt.Errorf("reading the start time of process %d: %w", pid, err)
	}
	return process{PID: pid, Began: began}, nil
}

// alive reports whether the process still runs.
func (p process) alive() bool {
	if p.PID <= 1 {
		return false
	}
	began, err := startTime(p.PID)
	return err == nil && began == p.Began
}

// maxState bounds the size of engine.json.
const maxState = 64 << 10

// readState returns the zero state if no engine was started. Root kills the processes
// in it, so a file of another user is an error. The names of the uplink are not in it:
// they derive from the cache directory.
func readState(path string) (state, error) {
	data, err := files.Read(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	var s state
	if err == nil {
		err = errors.Join(owned(path), json.Unmarshal(data, &s))
	}
	if err != nil {
		return state{}, fmt.Errorf("reading the state of the engine (remove %s if it is damaged): %w", path, err)
	}
	return s, nil
}

// owned refuses a file of another user.
func owned(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	}
	return nil
}

func (s state) write(path string) error {
	data, err := json.Marshal(s)
	if err == nil {
		err = files.Write(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the state of the engine: %w", err)
	}
	return nil
}

// startTime is the 22nd field of /proc/<pid>/stat. A zombie counts as gone.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses and may hold spaces.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fs.ErrNotExist
	}
	return fields[19], nil
}

// answers reports whether a unix socket accepts connections. A dead engine refuses
// at once. The timeout is long because a slow engine on a busy machine must not count
// as dead: its builds would be killed.
func answers(socket string) bool {
	dialer := net.Dialer{Timeout: 30 * time.Second}
	conn, err := dialer.DialContext(context.Background(), "unix", socket)
	return err == nil && conn.Close() == nil
}

// stopTimeout is how long the engine may take to end its containers.
const stopTimeout = 20 * time.Second

// Two locks exist below engine/: "lock" is held while the programs are compiled
// and the engine is started or stopped, and "in-use" is shared by all processes that
// use them.
const (
	waitingForStart = "waiting for another process that compiles, starts or stops the engine"
	// hostLock is held to change the network of the machine, which the engines of
	// all cache directories share.
	hostLock        = "/run/kata-pipelines.lock"
	hostLockTimeout = time.Minute
)

func (m *Manager) lock(ctx context.Context) (unlock func(), err error) {
	return files.Lock(ctx, filepath.Join(m.dir(), "lock"), m.waiting())
}

func (m *Manager) usePath() string { return filepath.Join(m.dir(), "in-use") }

// lease returns the use of the programs in a folder; the caller has the lock.
func (m *Manager) lease(ctx context.Context, bin string) (*Lease, error) {
	unlock, err := files.LockShared(ctx, m.usePath(), m.waiting())
	if err != nil {
		return nil, err
	}
	return &Lease{CLI: filepath.Join(bin, "dagger"), unlock: unlock}, nil
}

// exclusive keeps other processes from using the programs and the engine. It fails
// with ErrInUse if one does.
func (m *Manager) exclusive() (release func(), err error) {
	release, err = files.TryLock(m.usePath())
	if errors.Is(err, files.ErrLocked) {
		return nil, ErrInUse
	}
	return release, err
}

func (m *Manager) waiting() files.Waiting {
	return files.Waiting{Report: m.Report, Subject: "engine", Text: waitingForStart}
}

// Status describes the engine without changing anything.
func (m *Manager) Status() (Status, error) {
	now, err := readState(m.statePath())
	if err != nil {
		return Status{}, err
	}
	status := Status{State: "stopped", Version: Version, Log: m.logPath()}
	switch {
	case now.Supervisor.alive() && answers(m.socketPath()):
		status.State, status.Address, status.PID = "running", "unix://"+m.socketPath(), now.Supervisor.PID
	case now.Supervisor.PID != 0:
		status.State = "dead"
	}
	return status, nil
}

// Stop ends the engine, its containers and everything it set up on the host.
// The build cache stays. Stopping an engine that does not run succeeds.
// Without force, it fails with ErrInUse while builds use the engine.
func (m *Manager) Stop(ctx context.Context, force bool) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := readState(m.statePath())
	if err != nil {
		return err
	}
	if now.Supervisor.alive() && !force {
		release, err := m.exclusive()
		if err != nil {
			return err
		}
		defer release()
	}
	return m.stop(now)
}

// stop ends the engine of a state and removes what it left.
func (m *Manager) stop(now state) error {
	if now.Supervisor.PID == 0 {
		return nil
	}
	if err := end(now.Supervisor); err != nil {
		return fmt.Errorf("stopping the engine: %w", err)
	}
	// The kernel kills init with its supervisor; the engine must be gone before
	// another one takes over its files.
	if !waitFor(stopTimeout, func() bool { return !now.Init.alive() }) {
		return fmt.Errorf("stopping the engine: process %d does not end", now.Init.PID)
	}
	if err := m.clear(); err != nil {
		return fmt.Errorf("removing what the engine left: %w", err)
	}
	for _, path := range []string{m.socketPath(), m.statePath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing what the engine left: %w", err)
		}
	}
	return nil
}

// end asks a process to end, and kills it if it does not.
func end(p process) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !p.alive() {
			return nil
		}
		if err := syscall.Kill(p.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		waitFor(stopTimeout, func() bool { return !p.alive() })
	}
	if p.alive() {
		return fmt.Errorf("process %d does not end", p.PID)
	}
	return nil
}

// clear takes down what is left of the engine's setup on the host. The supervisor
// calls it at its end; if the supervisor was killed, the next command does.
func (m *Manager) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), hostLockTimeout)
	defer cancel()
	unlock, err := files.Lock(ctx, hostLock, files.Waiting{})
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(nameUplink(m.CacheDir).remove(), restoreHost(), removeCgroups())
}

func waitFor(limit time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}
