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

// The CLI writes what commands print, among the rest of its progress, as
//
//	19  : [1.6s] | the line
//
// with bars for the depth after the colon, and may do so seconds after a
// command has ended.
var execLine = regexp.MustCompile(`^\d+ +: (?:┆ )*\[[0-9.hms]+\] \| ?(.*)$`)

const (
	// cachedTimeout is how long a command that has ended well may owe the first
	// line of its log: one whose result the engine had cached never prints it.
	cachedTimeout = time.Second
	// flushTimeout bounds every other wait for the log.
	flushTimeout = 12 * time.Second
)

// marker runs a command between two lines, so that its output can be told from
// the rest and its end is known.
const marker = `echo "begin $0"; "$@" 2>&1; code=$?; echo; echo "end $0"; exit $code`

// execLog picks the output of one command at a time out of the progress of the
// CLI.
type execLog struct {
	mu      sync.Mutex
	partial []byte
	target  io.Writer
	mark    string
	begun   chan struct{}
	ended   chan struct{}
	inside  bool
}

// follow returns the arguments that run a command between marks, and flush,
// which waits, for the given time until the first line has come, and says
// whether all the output has been written to target. The marks are made of the
// arguments: the engine's cache knows an equal command again.
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
