package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// DaemonSpec says how to start a daemon.
type DaemonSpec struct {
	// Program is the path of the executable.
	Program string
	Args    []string
	// Socket is the unix socket that it serves on once it is ready. Without one it is ready
	// at once: it has been given a socket that listens.
	Socket string
	// Files are its open files from descriptor 3 on.
	Files []*os.File
	// Log is the file that gets what it prints; a later run appends to it.
	Log string
	// Ready is how long it may take until it serves.
	Ready time.Duration
}

// Daemon is a program that serves on a unix socket.
type Daemon struct {
	spec DaemonSpec
	cmd  *exec.Cmd
	// done is closed when the program has ended; err then says how.
	done chan struct{}
	err  error
}

// StartDaemon runs the program and waits until it serves. A program that ends first, or
// does not serve in time, is an error, which has the end of its output. The end of ctx
// kills the program.
func StartDaemon(ctx context.Context, spec DaemonSpec) (*Daemon, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", filepath.Base(spec.Program), err)
	}
	defer log.Close()
	d := &Daemon{spec: spec, done: make(chan struct{}), cmd: command.New(ctx, spec.Program, spec.Args...)}
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.ExtraFiles = log, log, spec.Files
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	wait, err := Start(d.cmd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(spec.Program), err)
	}
	go func() {
		d.err = cmp.Or(wait(), errors.New("exit status 0"))
		close(d.done)
	}()
	if spec.Socket == "" {
		return d, nil
	}
	if err := d.ready(ctx); err != nil {
		return nil, errors.Join(err, d.Kill())
	}
	return d, nil
}

// ready waits until the daemon serves.
func (d *Daemon) ready(ctx context.Context) error {
	const pause = 20 * time.Millisecond
	timed, cancel := context.WithTimeout(ctx, d.spec.Ready)
	defer cancel()
	for {
		connection, err := new(net.Dialer).DialContext(timed, "unix", d.spec.Socket)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-d.done:
			return d.failure("ended before it served: %v", d.err)
		case <-timed.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return d.failure("does not serve on %s after %v", d.spec.Socket, d.spec.Ready)
		case <-time.After(pause):
		}
	}
}

// Stop asks the program to end, and waits for it. A program that has ended
// by itself, or does not end within grace, is an error.
func (d *Daemon) Stop(grace time.Duration) error {
	select {
	case <-d.done:
		return d.failure("had ended by itself: %v", d.err)
	default:
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return d.failure("cannot be stopped: %v", err)
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(grace):
		return errors.Join(d.failure("did not stop within %v", grace), d.Kill())
	}
}

// Kill ends the program at once, and everything that it started in its process
// group, and waits for it. It does nothing where the program has ended.
func (d *Daemon) Kill() error {
	select {
	case <-d.done:
		return nil
	default:
	}
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return d.failure("cannot be killed: %v", err)
	}
	<-d.done
	return nil
}

// failure returns an error that ends with the last lines of output.
func (d *Daemon) failure(format string, args ...any) error {
	const lines = 8
	// Without a log there is nothing to add.
	printed, _ := os.ReadFile(d.spec.Log)
	all := strings.Split(strings.TrimSpace(string(printed)), "\n")
	tail := strings.Join(all[max(0, len(all)-lines):], "\n")
	return fmt.Errorf("%s %s%s", filepath.Base(d.spec.Program), fmt.Sprintf(format, args...), Indented(tail))
}
