package progress

import (
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
	// minLine is the length of the shortest line of a multi-line secret to hide.
	minLine = 4
	// tailLines is how many lines of a log Tail returns.
	tailLines = 25
)

// Log is the log file of one build, written a line at a time. It hides secrets
// and remembers its last lines. It is safe for concurrent use; a nil Log drops
// what it is given.
type Log struct {
	secrets *strings.Replacer

	mu   sync.Mutex
	file *os.File
	tail []string
	err  error
}

// CreateLog creates a log file with a first line. It replaces an existing file; a
// process that still writes to the old one keeps it.
func CreateLog(path, title string, secrets []string) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the log folder: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the previous log: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating the log: %w", err)
	}
	l := &Log{file: file}
	l.append(title)
	l.secrets = hide(secrets)
	return l, nil
}

// hide replaces secrets, the longest first, and each line of multi-line ones.
func hide(secrets []string) *strings.Replacer {
	var hidden []string
	for _, secret := range secrets {
		secret = strings.TrimSpace(secret)
		for _, line := range strings.Split(secret, "\n") {
			if line = strings.TrimSpace(line); line == secret && line != "" || len(line) >= minLine {
				hidden = append(hidden, line)
			}
		}
	}
	slices.SortFunc(hidden, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, secret := range hidden {
		pairs = append(pairs, secret, "***")
	}
	return strings.NewReplacer(pairs...)
}

// Path returns the path of the file.
func (l *Log) Path() string { return l.file.Name() }

// Tail returns the last lines, without secrets.
func (l *Log) Tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tail)
}

// Mask hides the secrets of a text.
func (l *Log) Mask(text string) string {
	if l == nil {
		return text
	}
	return l.secrets.Replace(text)
}

// Line appends a line. Close reports a file that cannot be written.
func (l *Log) Line(text string) {
	if l != nil {
		l.append(l.Mask(text))
	}
}

func (l *Log) append(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, text)
	l.tail = l.tail[max(0, len(l.tail)-tailLines):]
	_, err := fmt.Fprintln(l.file, text)
	l.err = cmp.Or(l.err, err)
}

// Close appends a last line and closes the file.
func (l *Log) Close(last string) error {
	l.Line(last)
	if err := cmp.Or(l.err, l.file.Close()); err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	return nil
}
