// Package debian takes two things from a Debian archive without naming one:
// the signed index tells where a file of a source package is and what its hash
// is, and mmdebstrap makes the base of a builder where no container registry
// answers. Both use the mirror that the machine's own apt is configured with,
// and neither touches the machine's apt state.
package debian

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// keyring holds the keys of the Debian archive, on Ubuntu as well.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// grace is how long a program gets to clean up once it is told to stop.
const grace = 10 * time.Second

// output runs a program in dir and returns what it wrote. Its error ends with
// what the program complained of last.
func output(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	cmd := command(ctx, program, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, failure(ctx, program, err, stderr.String())
	}
	return stdout.Bytes(), nil
}

// command prepares a program that speaks English and is asked to stop, not
// killed, when ctx ends: apt and mmdebstrap have children and temporary files.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	return cmd
}

var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// failure says why a program failed: ctx's end, or the last lines of stderr
// without the credentials that a mirror's address may carry.
func failure(ctx context.Context, program string, err error, stderr string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("running %s: %w", program, context.Cause(ctx))
	}
	lines := strings.Split(strings.TrimSpace(userinfo.ReplaceAllString(stderr, "://")), "\n")
	lines = lines[max(0, len(lines)-3):]
	return fmt.Errorf("running %s: %w: %s", program, err, strings.Join(lines, "; "))
}

// lock takes a file lock, waiting for other processes until ctx ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of a lock: %w", err)
	}
	file := flock.New(path)
	if _, err := file.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("waiting for the lock %s: %w", path, err)
	}
	// Closing the file is what frees the lock; nothing was written to it.
	return func() { _ = file.Close() }, nil
}
