// Package host is the machine that artifacts are verified on: the programs it
// has, and the child processes, daemons and virtual machines that checks start.
// All of them die with this process.
package host

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Host says how checks use the machine.
type Host struct {
	// Skip is why checks start no guest and no daemon, "" to start them.
	Skip string
	// Name is the name of the machine.
	Name string
	// Root is the root of the repository, and Cache a folder for programs that
	// checks compile.
	Root, Cache string
	// Kernel is the tarball of a guest kernel of the artifact's architecture, for programs
	// that serve guests or run them; "" if there is none.
	Kernel string
	// Base is the tarball of the image that an extension boots with, "" if there is none.
	Base string
	// Accelerator is "tcg" or "kvm".
	Accelerator string
	// Timeout is how long a guest or program may take, and Grace how long a guest
	// may take to power off once its boot is over.
	Timeout, Grace time.Duration
	// Tools is the only folder to find programs in, "" to search PATH.
	Tools string
	// Subject names the artifact in messages to Reporter, which may be nil.
	Subject  string
	Reporter *progress.Reporter
}

// Note reports a step that takes time.
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

// Find finds a program; the error is a report.Missing that names its package.
func (h Host) Find(name, pkg string) (string, error) {
	path, err := h.LookPath(name)
	if err != nil {
		return "", report.Missing(fmt.Sprintf("no %s on this machine: apt-get install %s", name, pkg))
	}
	return path, nil
}

// Start starts a command that dies with this process, and returns a function
// that waits for its end. The caller must call it.
func Start(cmd *exec.Cmd) (wait func() error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithParent(cmd.SysProcAttr)
	started, waited := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends the death signal when the thread that started the child
		// ends, so this thread stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-waited
		}
	}()
	return func() error {
		defer close(waited)
		return cmd.Wait()
	}, <-started
}

// Printed keeps what a program prints. A program that prints more than a check reads
// fails: it cannot write any further.
type Printed struct {
	text []byte
	over bool
}

// Write fails where that would be too much.
func (p *Printed) Write(data []byte) (int, error) {
	if len(p.text)+len(data) > mostPrinted {
		p.over = true
		return 0, p.Err()
	}
	p.text = append(p.text, data...)
	return len(data), nil
}

// String returns what the program has printed.
func (p *Printed) String() string { return string(p.text) }

const mostPrinted = 1 << 20

// Err returns an error if the program has printed too much.
func (p *Printed) Err() error {
	if p.over {
		return fmt.Errorf("it prints more than %d bytes", mostPrinted)
	}
	return nil
}

// Output runs a command and returns what it prints. An error carries what the
// command writes to stderr.
func Output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr Printed
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	wait, err := Start(cmd)
	if err == nil {
		err = wait()
	}
	if err = cmp.Or(stdout.Err(), stderr.Err(), err); err != nil {
		return "", fmt.Errorf("running %s %s: %w%s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, Indented(stderr.String()))
	}
	return stdout.String(), nil
}

// Indented returns the output of a program on lines of its own, "" if it is blank.
func Indented(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return "\n" + text
}

// GoBuild compiles programs in a folder, with variables for the go command. Without
// Go the error is a report.Missing.
func (h Host) GoBuild(ctx context.Context, dir string, environ []string, args ...string) error {
	compiler, err := h.LookPath("go")
	if err != nil {
		return report.Missing("no go in PATH")
	}
	cmd := command.New(ctx, compiler, append([]string{"build", "-trimpath"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(append(command.GoEnviron(), "CGO_ENABLED=0"), environ...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(output))
	}
	return nil
}
