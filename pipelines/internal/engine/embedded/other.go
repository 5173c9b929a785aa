//go:build !linux

package embedded

import (
	"context"
	"errors"
)

// errLinuxOnly is the error of every method here that can fail.
var errLinuxOnly = errors.New("the embedded engine exists only on Linux: name another one with --engine, or start Docker, Podman or nerdctl")

// Status reports that no engine runs.
func (m *Manager) Status() (Status, error) {
	return Status{State: "stopped", Version: Version, Log: m.logPath()}, nil
}

// Start fails.
func (*Manager) Start(context.Context) (*Lease, error) { return nil, errLinuxOnly }

// Stop fails.
func (*Manager) Stop(context.Context, bool) error { return errLinuxOnly }

// CLI fails.
func (*Manager) CLI(context.Context) (*Lease, error) { return nil, errLinuxOnly }

// Supervise fails.
func Supervise(context.Context) error { return errLinuxOnly }

func tail(string) string { return "" }
