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
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
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
	// Note gets a line for each thing that takes a while or that a person
	// should know. It may be nil.
	Note func(string)
	// Log gets the output of tools. It may be nil.
	Log io.Writer
}

// Running is an engine that answers.
type Running struct {
	// Address is what clients connect to: unix://...
	Address string
	// CLI is the path of the dagger program of the same build.
	CLI string
	PID int
	// Release says that the engine is no longer used: until then no process
	// replaces it, and none stops it without force.
	Release func() error
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

// ErrInUse is returned for an engine that builds use.
var ErrInUse = errors.New("builds use the embedded engine: wait for them, or end them with it by --force")

// Stop ends the engine, its containers and everything it set up on the host.
// The build cache stays. Stopping an engine that does not run is no error.
// Without force, one that builds use is left alone with ErrInUse.
func (m *Manager) Stop(ctx context.Context, force bool) error {
	unlock, err := m.lock(ctx, "lock", waitingForStart)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := readState(m.statePath())
	if err != nil {
		return err
	}
	if now.Supervisor.alive() && !force {
		free, release, err := m.unused()
		if err != nil {
			return err
		}
		if !free {
			return ErrInUse
		}
		defer release()
	}
	return m.stop(now)
}

// Explain says for an engine that has ended what its log has last, and "" for
// one that runs.
func (m *Manager) Explain() string {
	status, err := m.Status()
	switch {
	case err != nil:
		return err.Error()
	case status.State == "stopped":
		return "the embedded engine has been stopped"
	case status.State == "dead":
		return fmt.Sprintf("the embedded engine has ended:\n%s\nthe whole log is %s", tail(m.logPath()), m.logPath())
	}
	return ""
}

func (m *Manager) note(line string) {
	if m.Note != nil {
		m.Note(line)
	}
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
	ctx, cancel := context.WithTimeout(context.Background(), hostLockTimeout)
	defer cancel()
	unlock, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(s.Uplink.remove(), restoreHost(), removeCgroups())
}

func waitFor(limit time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}
