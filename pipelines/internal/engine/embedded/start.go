//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// usePoll is how often Start checks whether builds still use an engine.
	usePoll = 500 * time.Millisecond
	// startTimeout bounds the time until a started engine answers.
	startTimeout = 60 * time.Second
)

// Start returns the running engine, built and started if need be. It replaces a dead
// engine at once, and one of another version once no build uses it. Concurrent
// processes wait for each other and share one engine.
func (m *Manager) Start(ctx context.Context) (*Lease, error) {
	for noted := false; ; noted = true {
		lease, err := m.tryStart(ctx)
		if !errors.Is(err, ErrInUse) {
			return lease, err
		}
		if !noted {
			m.note("waiting for builds that use an engine of another version, or one that does not answer")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for builds that use another engine: %w", ctx.Err())
		case <-time.After(usePoll):
		}
	}
}

// tryStart is Start, but fails with ErrInUse instead of waiting for builds.
func (m *Manager) tryStart(ctx context.Context) (*Lease, error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	bin, err := m.build(ctx)
	if err != nil {
		return nil, err
	}
	now, err := readState(m.statePath())
	if err != nil {
		return nil, err
	}
	pid := now.Supervisor.PID
	if !now.Supervisor.alive() || now.Build != bin || !answers(m.socketPath()) {
		if pid, err = m.replace(ctx, now, bin); err != nil {
			return nil, err
		}
	}
	lease, err := m.lease(ctx, bin)
	if err != nil {
		return nil, err
	}
	lease.Address, lease.PID = "unix://"+m.socketPath(), pid
	return lease, nil
}

// replace starts an engine in place of the recorded one, unless builds use that one.
func (m *Manager) replace(ctx context.Context, now state, bin string) (pid int, err error) {
	release, err := m.exclusive()
	unused := err == nil
	switch {
	case unused:
		defer release()
	case !errors.Is(err, ErrInUse) || now.Supervisor.alive():
		return 0, err // The builds of a dead engine are about to fail.
	}
	switch {
	case now.Supervisor.alive():
		m.note("replacing an engine of another version, or one that does not answer")
	case now.Supervisor.PID != 0:
		m.note("the engine ended without being stopped: starting a new one")
	}
	if err := m.stop(now); err != nil {
		return 0, err
	}
	if unused {
		if err := m.removePrograms("bin-*", bin); err != nil {
			return 0, err
		}
	}
	return m.launch(ctx, bin)
}

// launch starts the supervisor as a daemon and waits until the engine answers.
func (m *Manager) launch(ctx context.Context, bin string) (int, error) {
	config, err := m.config(bin)
	if err != nil {
		return 0, err
	}
	log, err := m.newLog()
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd, err := config.reexec(context.WithoutCancel(ctx))
	if err != nil {
		return 0, err
	}
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
		var err error
		select {
		case <-ended:
			return 0, fmt.Errorf("the engine ended while starting:\n%s\nthe whole log is %s", tail(m.logPath()), m.logPath())
		case <-deadline:
			err = fmt.Errorf("the engine did not answer within %s: see %s", startTimeout, m.logPath())
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(50 * time.Millisecond):
			continue
		}
		if young, gone := identify(cmd.Process.Pid); gone == nil {
			err = errors.Join(err, end(young))
		}
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// newLog creates the log and keeps that of the previous engine.
func (m *Manager) newLog() (*os.File, error) {
	if err := os.Rename(m.logPath(), m.logPath()+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("keeping the engine's previous log: %w", err)
	}
	log, err := os.Create(m.logPath())
	if err != nil {
		return nil, fmt.Errorf("creating the engine's log: %w", err)
	}
	return log, nil
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
