package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Ending says how a boot ended.
type Ending string

// The endings of a boot.
const (
	// Off: the guest turned its machine off.
	Off Ending = "off"
	// Stopped: Watch asked for the end, and the guest did not go by itself.
	Stopped Ending = "stopped"
	// Hang: the time was up.
	Hang Ending = "hang"
	// Refused: QEMU itself failed.
	Refused Ending = "refused"
)

// Boot is one run of QEMU.
type Boot struct {
	// Program is QEMU's, Args its arguments.
	Program string
	Args    []string
	// Timeout is how long the guest may take.
	Timeout time.Duration
	// Watch gets every line of the console, without its end. When it returns
	// true the guest has Grace to turn itself off.
	Watch func(line string) bool
	Grace time.Duration
}

// Result is what a boot came to.
type Result struct {
	Ending  Ending
	Elapsed time.Duration
	// Tail are the last lines of the console.
	Tail []string
	// Stderr is the end of what QEMU itself said.
	Stderr string
}

// errTimeout is the cause of an ending by the clock.
var errTimeout = errors.New("the guest took too long")

// Run runs QEMU until the guest is off, hangs, or ctx ends, which alone is an
// error, beside a QEMU that cannot be started. No QEMU is left behind.
func (b Boot) Run(ctx context.Context) (Result, error) {
	// A child with a death signal gets it when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	timed, cancel := context.WithTimeoutCause(ctx, b.Timeout, errTimeout)
	defer cancel()
	timed, stop := context.WithCancelCause(timed)
	defer stop(nil)
	console := &console{watch: b.Watch, done: func() {
		time.AfterFunc(b.Grace, func() { stop(errStopped) })
	}}
	var stderr tailBuffer
	cmd := exec.CommandContext(timed, b.Program, b.Args...)
	cmd.Stdout, cmd.Stderr = console, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	start := time.Now()
	err := cmd.Run()
	console.end()
	result := Result{Elapsed: time.Since(start), Tail: console.tail, Stderr: stderr.String()}
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case errors.Is(context.Cause(timed), errTimeout):
		result.Ending = Hang
	case errors.Is(context.Cause(timed), errStopped):
		result.Ending = Stopped
	case err == nil:
		result.Ending = Off
	case errors.As(err, &exit):
		result.Ending = Refused
	default:
		return result, fmt.Errorf("running %s: %w", b.Program, err)
	}
	return result, nil
}

// errStopped is the cause of an ending that Watch asked for.
var errStopped = errors.New("the console said that it is over")

const (
	// tailLines is how many lines of the console are kept, each of at most
	// maxLine bytes: a guest may write anything, for as long as it runs.
	tailLines = 40
	maxLine   = 64 << 10
)

// console cuts the serial line into lines.
type console struct {
	watch func(string) bool
	// done is called once, when watch has seen what it waits for.
	done func()
	over bool
	line []byte
	tail []string
}

// Write takes a piece of the console; it never fails.
func (c *console) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		piece, after, whole := bytes.Cut(rest, []byte{'\n'})
		if room := maxLine - len(c.line); len(piece) > room {
			piece = piece[:room]
		}
		c.line = append(c.line, piece...)
		if whole {
			c.end()
		}
		rest = after
	}
	return len(p), nil
}

// end passes the current line on.
func (c *console) end() {
	line := strings.TrimRight(string(c.line), "\r")
	c.line = c.line[:0]
	if line == "" {
		return
	}
	if len(c.tail) == tailLines {
		c.tail = append(c.tail[:0], c.tail[1:]...)
	}
	c.tail = append(c.tail, line)
	if c.watch(line) && !c.over {
		c.over = true
		c.done()
	}
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ data []byte }

// Write never fails.
func (t *tailBuffer) Write(p []byte) (int, error) {
	const most = 8 << 10
	t.data = append(t.data, p...)
	if len(t.data) > most {
		t.data = append(t.data[:0], t.data[len(t.data)-most:]...)
	}
	return len(p), nil
}

// String returns what was kept, without blanks around it.
func (t *tailBuffer) String() string { return strings.TrimSpace(string(t.data)) }

// VhostVsock is the device file of the host without which QEMU has no vsock.
const VhostVsock = "/dev/vhost-vsock"

// HasVsock says whether the machine can give a guest a vsock device.
func HasVsock() bool {
	file, err := os.OpenFile(VhostVsock, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return file.Close() == nil
}
