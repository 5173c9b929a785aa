// Package host is the machine that artifacts are verified on: the programs it
// has, and the child processes, daemons and virtual machines that checks start.
// All of them die with this process.
package host

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Host says how checks use the machine.
type Host struct {
	// Skip is why checks start no guest and no daemon, "" to start them.
	Skip string
	// Root is the root of the repository, and Cache a folder for programs that
	// checks compile.
	Root, Cache string
	// Accelerator is "tcg" or "kvm".
	Accelerator string
	// Timeout is how long a guest or program may take, and Grace how long a guest
	// may take to power off at the end or after a panic.
	Timeout, Grace time.Duration
	// Tools is a folder that has all programs, "" for the machine's own.
	Tools string
	// Subject names the artifact in messages to Reporter, which may be nil.
	Subject  string
	Reporter *progress.Reporter
}

// Missing is the error for what this machine lacks: a check that cannot run is
// skipped for it.
type Missing struct{ Why string }

// Error returns why.
func (m *Missing) Error() string { return m.Why }

// Note reports what takes time.
func (h Host) Note(text string) { h.Reporter.Note(h.Subject, text) }

// LookPath finds a program.
func (h Host) LookPath(name string) (string, error) {
	if h.Tools == "" {
		return command.LookPath(name)
	}
	path := filepath.Join(h.Tools, name)
	_, err := os.Stat(path)
	return path, err
}

// Find finds a program; the error is a *Missing that names its package.
func (h Host) Find(name, pkg string) (string, error) {
	path, err := h.LookPath(name)
	if err != nil {
		return "", &Missing{fmt.Sprintf("no %s on this machine: apt-get install %s", name, pkg)}
	}
	return path, nil
}
