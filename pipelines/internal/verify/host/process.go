package host

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a child that dies with this process.
type Process struct {
	cmd    *exec.Cmd
	waited chan struct{}
}

// Start starts a command. Its caller must call Wait.
func Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.WaitDelay = 5 * time.Second
	p := &Process{cmd: cmd, waited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that started the child
		// ends, so this thread stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-p.waited
		}
	}()
	return p, <-started
}

// Wait waits until the process has ended.
func (p *Process) Wait() error {
	defer close(p.waited)
	return p.cmd.Wait()
}

// Run runs a command to its end.
func Run(cmd *exec.Cmd) error {
	p, err := Start(cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Output runs a command and returns what it prints. An error carries what the
// command writes to stderr.
func Output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := Run(cmd); err != nil {
		return "", fmt.Errorf("running %s %s: %w%s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, Indented(stderr.String()))
	}
	return stdout.String(), nil
}

// Indented is the output of a program on lines of its own, or nothing.
func Indented(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return "\n" + text
}
