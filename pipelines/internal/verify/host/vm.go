package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Ending says how a boot ended.
type Ending string

// The endings of a boot.
const (
	// Off: the guest powered off.
	Off Ending = "off"
	// Stopped: Console said that the boot is over, and the guest stayed on.
	Stopped Ending = "stopped"
	// Hang: the time was up.
	Hang Ending = "hang"
	// Refused: QEMU itself failed.
	Refused Ending = "refused"
)

// Console reads what a guest writes to its serial line.
type Console interface {
	// Line takes one line without its end, and says whether the boot is over.
	Line(text string) (over bool)
}

// Boot is one run of QEMU.
type Boot struct {
	// Program is QEMU's, Args its arguments.
	Program string
	Args    []string
	// Timeout is how long the guest may take.
	Timeout time.Duration
	// Console reads the console. Once it says that the boot is over, the guest
	// has Grace to power off.
	Console Console
	Grace   time.Duration
}

// Result is the outcome of a boot.
type Result struct {
	Ending  Ending
	Elapsed time.Duration
	// Tail are the last lines of the console.
	Tail []string
	// Stderr is the end of what QEMU itself wrote.
	Stderr string
}

// errTimeout is the cause of an ending by the clock.
var errTimeout = errors.New("the guest took too long")

// Run runs QEMU until the guest is off, hangs, or ctx ends. Only the end of ctx
// and a QEMU that does not start are errors.
func (b Boot) Run(ctx context.Context) (Result, error) {
	timed, cancel := context.WithTimeoutCause(ctx, b.Timeout, errTimeout)
	defer cancel()
	timed, stop := context.WithCancelCause(timed)
	defer stop(nil)
	lines := &lines{to: b.Console, over: make(chan struct{})}
	go func() {
		select {
		case <-lines.over:
			time.AfterFunc(b.Grace, func() { stop(errStopped) })
		case <-timed.Done():
		}
	}()
	var stderr tailBuffer
	cmd := exec.CommandContext(timed, b.Program, b.Args...)
	cmd.Stdout, cmd.Stderr = lines, &stderr
	start := time.Now()
	err := Run(cmd)
	lines.end()
	result := Result{Elapsed: time.Since(start), Tail: lines.tail, Stderr: stderr.String()}
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

// errStopped is the cause of an ending that Console asked for.
var errStopped = errors.New("the console said that it is over")

const (
	// tailLines is how many lines of the console are kept, each of at most
	// maxLine bytes: a guest may write anything, for as long as it runs.
	tailLines = 40
	maxLine   = 64 << 10
)

// lines cuts the output of the serial line into lines.
type lines struct {
	to Console
	// over is closed when to says that the boot is over.
	over   chan struct{}
	closed bool
	line   []byte
	tail   []string
}

// Write takes a piece of the console; it never fails.
func (l *lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		piece, after, whole := bytes.Cut(rest, []byte{'\n'})
		if room := maxLine - len(l.line); len(piece) > room {
			piece = piece[:room]
		}
		l.line = append(l.line, piece...)
		if whole {
			l.end()
		}
		rest = after
	}
	return len(p), nil
}

// end passes the current line on.
func (l *lines) end() {
	line := strings.TrimRight(string(l.line), "\r")
	l.line = l.line[:0]
	if line == "" {
		return
	}
	if len(l.tail) == tailLines {
		l.tail = append(l.tail[:0], l.tail[1:]...)
	}
	l.tail = append(l.tail, line)
	if l.to.Line(line) && !l.closed {
		l.closed = true
		close(l.over)
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
