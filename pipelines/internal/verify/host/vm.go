package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// Ending says how a boot ended.
type Ending string

// The endings of a boot.
const (
	Off     Ending = "off"     // The guest powered off.
	Stopped Ending = "stopped" // The console said that the boot is over, and the guest stayed on.
	Hang    Ending = "hang"    // The time ran out.
	Refused Ending = "refused" // QEMU itself failed.
)

// Result is the outcome of a boot.
type Result struct {
	Ending  Ending
	Elapsed time.Duration
	// Tail are the last lines of the console.
	Tail []string
	// Stderr is the end of what QEMU itself wrote.
	Stderr string
}

// The causes of an early end: the time limit, and a line of the console.
var (
	errTimeout = errors.New("the guest took too long")
	errStopped = errors.New("the console said that it is over")
)

// Boot runs QEMU until the guest is off, hangs, or ctx ends. It calls line with each
// line of the console; line reports whether the boot is over. Only the end of ctx and a
// QEMU that does not start are errors.
func (h Host) Boot(ctx context.Context, program string, args []string, line func(text string) (over bool)) (Result, error) {
	timed, cancel := context.WithTimeoutCause(ctx, h.Timeout, errTimeout)
	defer cancel()
	timed, stop := context.WithCancelCause(timed)
	defer stop(nil)
	var stderr tailBuffer
	cmd := command.New(timed, program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	start := time.Now()
	wait, err := Start(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("running %s: %w", program, err)
	}
	over := false
	tail := listen(out, func(text string) {
		if line(text) && !over {
			over = true
			time.AfterFunc(h.Grace, func() { stop(errStopped) })
		}
	})
	err = wait()
	result := Result{Elapsed: time.Since(start), Tail: tail, Stderr: strings.TrimSpace(string(stderr))}
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

const (
	// tailLines is how many lines of the console are kept, each of at most
	// maxLine bytes: a guest may write anything, for as long as it runs.
	tailLines = 40
	maxLine   = 64 << 10
)

// listen passes the lines of the console on until it ends, and returns the last of
// them.
func listen(out io.Reader, line func(text string)) (tail []string) {
	reader := bufio.NewReaderSize(out, maxLine)
	for continued := false; ; {
		data, more, err := reader.ReadLine()
		if err != nil {
			return tail
		}
		if text := strings.TrimRight(string(data), "\r"); text != "" && !continued {
			tail = append(tail[max(0, len(tail)-tailLines+1):], text)
			line(text)
		}
		continued = more
	}
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer []byte

// Write never fails.
func (t *tailBuffer) Write(p []byte) (int, error) {
	const most = 8 << 10
	*t = append(*t, p...)
	*t = (*t)[max(0, len(*t)-most):]
	return len(p), nil
}

// VhostVsock is the device file of the host without which QEMU has no vsock.
const VhostVsock = "/dev/vhost-vsock"

// Usable returns why this process cannot use a device file, nil if it can.
func Usable(device string) error {
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// VsockAddress is the address of a guest of this process. The first three are reserved. QEMU
// reports an address that another guest of the machine has.
func VsockAddress() uint32 {
	const base, span = 1 << 16, 1 << 20
	return base + uint32(os.Getpid())%span
}
