// Package embedded runs the real Dagger engine as a local process, with no
// container runtime around it: compiled from its Go modules, as root, in mount,
// process, network, IPC and host name spaces of its own. Two processes belong
// to it:
//
//	supervisor    in the host's namespaces; owns the uplink (a veth pair, one
//	              nft table, packet forwarding) and takes it down at the end
//	└── init      process 1 of the new namespaces; lays out /run, /sys, /proc
//	    │         and resolv.conf, then reaps
//	    └── dagger-engine
//
// The death of any of them ends all, and the kernel takes what they mounted
// and connected with them.
package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

const (
	// startTimeout bounds the time from the first process to an answer.
	startTimeout = 60 * time.Second
	// stopTimeout is how long the engine may take to end its containers.
	stopTimeout = 20 * time.Second
)

// Manager starts and stops the embedded engine of one cache directory.
type Manager struct {
	// CacheDir holds the programs, the state and the socket of the engine,
	// below engine/.
	CacheDir string
	// ModuleDir is the nested Go module, pipelines/dagger-engine.
	ModuleDir string
	// Log gets what is being done, line by line.
	Log io.Writer
}

// Running is an engine that answers.
type Running struct {
	// Address is what clients connect to: unix://...
	Address string
	// CLI is the path of the dagger program of the same build.
	CLI string
	PID int
}

// Status describes the engine of the cache directory.
type Status struct {
	// State is "running", "stopped", or "dead" for one that ended without
	// being stopped or that does not answer.
	State   string `json:"state"`
	Version string `json:"version"`
	Address string `json:"address,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Log     string `json:"log"`
}

// Start returns the running engine, building and starting it if need be. A
// dead one is cleared away first. Processes that start at once wait for each
// other and share one engine.
func (m *Manager) Start(ctx context.Context) (Running, error) {
	unlock, err := m.lock(ctx, "lock")
	if err != nil {
		return Running{}, err
	}
	defer unlock()
	bin, err := m.Build(ctx)
	if err != nil {
		return Running{}, err
	}
	now, err := readState(m.statePath())
	if err != nil {
		return Running{}, err
	}
	running := Running{Address: "unix://" + m.socketPath(), CLI: filepath.Join(bin, "dagger")}
	switch {
	case now.Supervisor.alive() && now.Build == bin && answers(m.socketPath()):
		running.PID = now.Supervisor.PID
		return running, nil
	case now.Supervisor.alive():
		fmt.Fprintln(m.Log, "replacing an engine of another version, or one that does not answer")
	case now.Supervisor.PID != 0:
		fmt.Fprintln(m.Log, "the engine ended without being stopped: starting a new one")
	}
	if err := m.stop(now); err != nil {
		return Running{}, err
	}
	m.removeOthers(bin)
	running.PID, err = m.launch(ctx, bin)
	return running, err
}

// Status looks without changing anything.
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
// The build cache stays. Stopping an engine that does not run is no error.
func (m *Manager) Stop(ctx context.Context) error {
	unlock, err := m.lock(ctx, "lock")
	if err != nil {
		return err
	}
	defer unlock()
	now, err := readState(m.statePath())
	if err != nil {
		return err
	}
	return m.stop(now)
}

func (m *Manager) lock(ctx context.Context, name string) (unlock func() error, err error) {
	if err := os.MkdirAll(m.dir(), 0o755); err != nil {
		return nil, fmt.Errorf("making the engine's folder: %w", err)
	}
	lock := flock.New(filepath.Join(m.dir(), name))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("waiting for another process that builds, starts or stops the engine: %w", err)
	}
	return lock.Unlock, nil
}

// stop ends what a state describes and clears away what it left.
func (m *Manager) stop(now state) error {
	if now.Supervisor.PID == 0 {
		return nil
	}
	if err := end(now.Supervisor); err != nil {
		return fmt.Errorf("stopping the engine: %w", err)
	}
	// The kernel kills init with its supervisor; the engine must be gone
	// before another one takes over its files.
	if !waitFor(stopTimeout, func() bool { return !now.Init.alive() }) {
		return fmt.Errorf("stopping the engine: process %d does not end", now.Init.PID)
	}
	if err := now.clear(); err != nil {
		return fmt.Errorf("clearing away the engine: %w", err)
	}
	for _, path := range []string{m.socketPath(), m.statePath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clearing away the engine: %w", err)
		}
	}
	return nil
}

// end asks a process to end, and after a while makes it.
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

// clear takes down what the engine set up on the host and is still there. The
// supervisor does so at its end, and the next command after one that was
// killed.
func (s state) clear() error {
	return errors.Join(s.Uplink.remove(), restoreHost(), removeCgroups())
}

// launch starts the supervisor as a daemon and waits until the engine answers.
func (m *Manager) launch(ctx context.Context, bin string) (int, error) {
	config, err := m.config(bin)
	if err != nil {
		return 0, err
	}
	data, err := json.Marshal(config)
	if err != nil {
		return 0, err
	}
	log, err := os.Create(m.logPath())
	if err != nil {
		return 0, fmt.Errorf("creating the engine's log: %w", err)
	}
	defer log.Close()
	cmd := reexec()
	cmd.Env = append(environment(os.Environ()), configVariable+"="+string(data))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting the engine: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(startTimeout)
	for !answers(m.socketPath()) {
		select {
		case <-ended:
			return 0, fmt.Errorf("the engine ended while starting:\n%s\nthe whole log is %s", tail(m.logPath()), m.logPath())
		case <-deadline:
			cmd.Process.Signal(syscall.SIGTERM)
			return 0, fmt.Errorf("the engine did not answer within %s: see %s", startTimeout, m.logPath())
		case <-ctx.Done():
			cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			return 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return cmd.Process.Pid, nil
}

func waitFor(limit time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// tail returns the last lines of a log.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
