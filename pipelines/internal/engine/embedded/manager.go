// Package embedded runs the real Dagger engine as a local process, with no
// container runtime around it: compiled from its Go modules, as root, in mount,
// process, network, IPC and UTS namespaces of its own. Two processes belong
// to it:
//
//	supervisor    in the host's namespaces; owns the uplink (a veth pair, one
//	              nft table, packet forwarding) and takes it down at the end
//	└── init      process 1 of the new namespaces; lays out /run, /sys, /proc
//	    │         and resolv.conf, then reaps
//	    └── dagger-engine
//
// If one of them dies, all end, and the kernel removes their mounts and links. The
// embedded engine exists only on Linux.
package embedded

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Version is the version of the Dagger modules that the nested module requires; the
// SDK is pinned to the same one.
const Version = "v0.19.10"

// CacheLimit is the size in bytes that an engine keeps its build cache within, by removing
// what was used longest ago when a session ends.
const CacheLimit = 20_000_000_000

// Manager starts and stops the embedded engine of one cache directory.
type Manager struct {
	// CacheDir holds the programs, the state and the socket of the engine,
	// below engine/.
	CacheDir string
	// ModuleDir is the nested Go module, pipelines/dagger-engine.
	ModuleDir string
	// Report gets notes about what takes long, and the compiler's output.
	Report *progress.Reporter `json:"-"`
}

func (m *Manager) dir() string        { return filepath.Join(m.CacheDir, "engine") }
func (m *Manager) statePath() string  { return filepath.Join(m.dir(), "engine.json") }
func (m *Manager) root() string       { return filepath.Join(m.dir(), "state") }
func (m *Manager) logPath() string    { return filepath.Join(m.dir(), "engine.log") }
func (m *Manager) socketPath() string { return filepath.Join(m.dir(), "engine.sock") }

func (m *Manager) note(text string) { m.Report.Note("engine", text) }

// Lease is the use of an engine or of its programs: until it is released, no
// process replaces or removes them, and none stops the engine without force. A nil
// Lease holds nothing.
type Lease struct {
	// CLI is the path of the dagger program, Address the engine's address: unix://...,
	// or "" if only the program is used.
	CLI, Address string
	// PID is that of the engine's supervisor.
	PID int

	once   sync.Once
	unlock func()
}

// Release ends the lease. Only the first call counts.
func (l *Lease) Release() {
	if l != nil {
		l.once.Do(l.unlock)
	}
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

// ErrInUse is returned for an engine that builds use.
var ErrInUse = errors.New("builds are using the embedded engine: wait for them, or stop it and fail them with --force")

// Explain returns the end of the log of an engine that has ended, and "" for
// one that runs.
func (m *Manager) Explain() string {
	if m == nil {
		return ""
	}
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
