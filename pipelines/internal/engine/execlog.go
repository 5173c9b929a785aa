package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// The CLI mixes the output of commands into its progress, as
//
//	19  : [1.6s] | the line
//
// with bars for the depth after the colon. A line may come seconds after its
// command has ended.
var execLine = regexp.MustCompile(`^\d+ +: (?:┆ )*\[[0-9.hms]+\] \| ?(.*)$`)

const (
	// cachedTimeout bounds the wait for the first line of a command that has
	// succeeded: one whose result comes from the engine's cache never prints it.
	cachedTimeout = time.Second
	// flushTimeout bounds every other wait for the log.
	flushTimeout = 12 * time.Second
)

// marker runs a command between two lines that mark the beginning and end of its output.
const marker = `echo "begin $0"; "$@" 2>&1; code=$?; echo; echo "end $0"; exit $code`

// execLog extracts the output of one command at a time from the CLI's progress.
type execLog struct {
	mu      sync.Mutex
	partial []byte
	target  io.Writer
	mark    string
	begun   chan struct{}
	ended   chan struct{}
	inside  bool
}

// follow returns the arguments that run a command between marks, and flush, which
// waits for the output and reports whether target has all of it; first bounds the
// wait for the first line. The marks derive from the arguments, so that the engine's
// cache recognizes an equal command.
func (l *execLog) follow(target io.Writer, args ...string) (marked []string, flush func(ctx context.Context, first time.Duration) bool) {
	sum := sha256.Sum256([]byte(strings.Join(args, "\x00")))
	begun, ended := make(chan struct{}), make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target, l.mark, l.begun, l.ended, l.inside = target, "kata-"+hex.EncodeToString(sum[:8]), begun, ended, false
	return append([]string{"sh", "-c", marker, l.mark}, args...), func(ctx context.Context, first time.Duration) bool {
		whole := within(ctx, begun, first) && within(ctx, ended, flushTimeout)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.target, l.mark, l.inside = nil, "", false
		return whole
	}
}

func within(ctx context.Context, done <-chan struct{}, limit time.Duration) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-time.After(limit):
	}
	return false
}

// Write takes the progress of the CLI. It never fails.
func (l *execLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		i := bytes.IndexByte(l.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(l.partial[:i])
		l.partial = l.partial[i+1:]
		if m := execLine.FindStringSubmatch(line); m != nil && l.mark != "" {
			l.line(m[1])
		}
	}
}

func (l *execLog) line(text string) {
	switch {
	case !l.inside && text == "begin "+l.mark:
		l.inside = true
		close(l.begun)
	case l.inside && text == "end "+l.mark:
		l.inside = false
		close(l.ended)
	case l.inside:
		// The log of a build reports its own failures when it is closed.
		io.WriteString(l.target, text+"\n")
	}
}
