package build

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// tailLines is how much of a log a failure shows.
const tailLines = 25

// logFile is the log of one build, <asset>.log, which remembers its tail.
type logFile struct {
	*os.File
	tail    []string
	partial string
}

func createLog(dir string, plan recipe.Plan) (*logFile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the log folder: %w", err)
	}
	path := filepath.Join(dir, plan.Recipe.Asset+".log")
	// Another process that still builds this asset, of other inputs, keeps
	// writing to the file that it opened.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the former log: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating the log: %w", err)
	}
	log := &logFile{File: file}
	fmt.Fprintf(log, "%s %s, key %s\n", plan.Recipe.Asset, plan.Recipe.Arch, plan.Key)
	return log, nil
}

// Write appends to the log.
func (l *logFile) Write(p []byte) (int, error) {
	lines := strings.Split(l.partial+string(p), "\n")
	l.partial = lines[len(lines)-1]
	l.tail = append(l.tail, lines[:len(lines)-1]...)
	if extra := len(l.tail) - tailLines; extra > 0 {
		l.tail = append([]string(nil), l.tail[extra:]...)
	}
	return l.File.Write(p)
}

// Failure is a failed build: why, and where its log is.
type Failure struct {
	Asset string
	// Log is the path of the log, Tail its last lines.
	Log  string
	Tail []string
	Err  error
}

// Error is the cause alone; the log is for whoever shows the error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// done ends and closes the log of a build that succeeded.
func (l *logFile) done() error {
	fmt.Fprintln(l, "done")
	if err := l.Close(); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}

// failure ends and closes the log, and returns err with it. The tail is what
// came before: whoever shows it shows err as well.
func (l *logFile) failure(asset string, err error) error {
	if l.partial != "" {
		fmt.Fprintln(l)
	}
	failure := &Failure{Asset: asset, Log: l.Name(), Tail: l.tail, Err: err}
	fmt.Fprintf(l, "failed: %v\n", err)
	// A log that done could not close is closed all the same.
	if closing := l.Close(); closing != nil && !errors.Is(closing, os.ErrClosed) {
		failure.Err = errors.Join(err, fmt.Errorf("closing the log: %w", closing))
	}
	return failure
}
