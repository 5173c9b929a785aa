package progress

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	// masked replaces a secret.
	masked = "***"
	// minLine is the shortest line of a secret of several lines that is hidden
	// by itself: commands print such a secret a line at a time.
	minLine = 4
	// tailLines is how many lines of a log Tail returns.
	tailLines = 25
)

// Log is the log file of one build. It hides secrets, also those that are cut
// by two writes, and remembers its last lines. It is safe for concurrent use; a
// nil Log drops what it is given.
type Log struct {
	// secrets are sorted, the longest first.
	secrets []string

	mu   sync.Mutex
	file *os.File
	// held may be the beginning of a secret whose end is still to come.
	held    []byte
	tail    []string
	partial string
}

// CreateLog creates a log file with a first line, in place of one that is
// there: a process that still writes to the old file keeps it.
func CreateLog(path, title string, secrets []string) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the log folder: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the former log: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating the log: %w", err)
	}
	l := &Log{file: file}
	for _, secret := range secrets {
		l.secrets = append(l.secrets, strings.TrimSpace(secret))
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				l.secrets = append(l.secrets, line)
			}
		}
	}
	l.secrets = slices.DeleteFunc(l.secrets, func(secret string) bool { return secret == "" })
	slices.SortFunc(l.secrets, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	l.secrets = slices.Compact(l.secrets)
	_ = l.emit([]byte(title + "\n")) // Close reports a file that cannot be written.
	return l, nil
}

// Path returns the path of the file.
func (l *Log) Path() string { return l.file.Name() }

// Tail returns the last lines, without secrets.
func (l *Log) Tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	tail := slices.Clone(l.tail)
	if l.partial != "" {
		tail = append(tail, l.partial)
	}
	return tail[max(0, len(tail)-tailLines):]
}

// Mask hides the secrets of a whole text.
func (l *Log) Mask(text string) string {
	if l == nil {
		return text
	}
	for _, secret := range l.secrets {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return text
}

// Write appends output of a program.
func (l *Log) Write(p []byte) (int, error) {
	_, err := l.pass(p)
	return len(p), err
}

// Line appends a line of its own.
func (l *Log) Line(text string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.emit(l.held)
	l.held = nil
	_ = l.emit([]byte(l.Mask(text) + "\n"))
}

// Close appends a last line and closes the file.
func (l *Log) Close(last string) error {
	l.mu.Lock()
	_ = l.emit(l.held)
	l.held = nil
	if l.partial != "" {
		_ = l.emit([]byte("\n"))
	}
	_, err := fmt.Fprintln(l.file, l.Mask(last))
	l.mu.Unlock()
	if err = errors.Join(err, l.file.Close()); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}

// pass appends output and returns what of it is known to hold no secret.
func (l *Log) pass(p []byte) ([]byte, error) {
	if l == nil {
		return p, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.secrets) == 0 {
		return p, l.emit(p)
	}
	pending := slices.Concat(l.held, p)
	l.held = nil
	var out []byte
	for len(pending) > 0 {
		secret, whole := l.at(pending)
		switch {
		case whole:
			out, pending = append(out, masked...), pending[len(secret):]
			continue
		case secret != "":
			l.held = slices.Clone(pending)
			return out, l.emit(out)
		}
		out, pending = append(out, pending[0]), pending[1:]
	}
	return out, l.emit(out)
}

// at returns the secret that text begins with, or one whose beginning is all of
// text: a longer one may still come.
func (l *Log) at(text []byte) (secret string, whole bool) {
	for _, secret := range l.secrets {
		if bytes.HasPrefix(text, []byte(secret)) {
			return secret, true
		}
		if strings.HasPrefix(secret, string(text)) {
			return secret, false
		}
	}
	return "", false
}

// emit appends text without secrets.
func (l *Log) emit(text []byte) error {
	lines := strings.Split(l.partial+string(text), "\n")
	l.partial = lines[len(lines)-1]
	l.tail = append(l.tail, lines[:len(lines)-1]...)
	if extra := len(l.tail) - tailLines; extra > 0 {
		l.tail = slices.Clone(l.tail[extra:])
	}
	_, err := l.file.Write(text)
	return err
}
