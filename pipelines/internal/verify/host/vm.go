package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
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
	var stderr tailBuffer
	cmd := exec.CommandContext(timed, b.Program, b.Args...)
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	start := time.Now()
	process, err := Start(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("running %s: %w", b.Program, err)
	}
	over := sync.OnceFunc(func() { time.AfterFunc(b.Grace, func() { stop(errStopped) }) })
	tail := b.listen(out, over)
	err = process.Wait()
	result := Result{Elapsed: time.Since(start), Tail: tail, Stderr: stderr.String()}
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	switch {
	case errors.Is(context.Cause(timed), errTimeout):
		result.Ending = Hang
	case errors.Is(context.Cause(timed), errStopped):
		result.Ending = Stopped
	case err == nil:
		result.Ending = Off
	default:
		result.Ending = Refused
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

// listen passes the lines of the console on until it ends, and returns the last of
// them. It calls over when Console says that the boot is over.
func (b Boot) listen(out io.Reader, over func()) (tail []string) {
	reader := bufio.NewReaderSize(out, maxLine)
	for continued := false; ; {
		line, more, err := reader.ReadLine()
		if err != nil {
			return tail
		}
		if text := strings.TrimRight(string(line), "\r"); text != "" && !continued {
			tail = append(tail[max(0, len(tail)-tailLines+1):], text)
			if b.Console.Line(text) {
				over()
			}
		}
		continued = more
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
