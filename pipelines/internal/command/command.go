// Package command prepares the child processes of this program, all in the same
// way: they get an allow-listed environment, so that no secret or token of the caller
// reaches them; programs are also found in the system's sbin folders; and when the
// context ends, a process gets SIGTERM, then SIGKILL.
//
// It starts nothing itself: callers use [os/exec] as usual.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Grace is how long a process may take to end after SIGTERM. This program itself has
// ten seconds.
const Grace = 5 * time.Second

// systemDirs hold system programs; a root shell made with plain `su` leaves
// them out of PATH.
var systemDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// passed lists the variables that every process gets.
var passed = []string{
	"HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "APT_CONFIG",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
}

// goVariables lists those of the go command. It builds for this machine, so GOOS and
// GOARCH are not among them.
var goVariables = []string{
	"GOAUTH", "GOCACHE", "GOCACHEPROG", "GODEBUG", "GOENV", "GOFLAGS", "GOGC", "GOINSECURE", "GOMAXPROCS", "GOMEMLIMIT",
	"GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPATH", "GOPRIVATE", "GOPROXY", "GOROOT", "GOSUMDB", "GOTMPDIR",
	"GOTOOLCHAIN", "GOVCS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
}

// GoEnviron is Environ for the go command.
func GoEnviron(more ...string) []string { return Environ(slices.Concat(more, goVariables)...) }

// Environ returns the variables that a process gets: a fixed few, those with the
// given names, and PATH with the folders of system programs. A name that ends with
// "*" is a prefix: use it only for numbered variables.
func Environ(more ...string) []string {
	wanted := slices.Concat(passed, more)
	var environ []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if slices.ContainsFunc(wanted, func(pattern string) bool {
			prefix, open := strings.CutSuffix(pattern, "*")
			return name == pattern || open && strings.HasPrefix(name, prefix)
		}) {
			environ = append(environ, variable)
		}
	}
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, dir := range systemDirs {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return append(environ, "PATH="+strings.Join(dirs, string(filepath.ListSeparator)))
}

// LookPath finds a program in PATH or in the folders of system programs.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range systemDirs {
		path := filepath.Join(dir, name)
		if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", err
}

// New prepares a program. One that is not found fails with [exec.ErrNotFound]
// when it is started.
func New(ctx context.Context, program string, args ...string) *exec.Cmd {
	path, err := LookPath(program)
	if err != nil {
		path = program
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Args[0] = program
	cmd.Env = Environ()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = Grace
	return cmd
}

// Output runs a program and returns what it printed, without stderr. The error is that
// of [Failure].
func Output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var stderr []byte
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		stderr = exit.Stderr
	}
	return string(out), Failure(ctx, cmd, err, string(stderr))
}

var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// Redact removes the credentials of URLs from what a command printed.
func Redact(printed string) string { return userinfo.ReplaceAllString(printed, "://") }

// Failure returns why a command failed: the end of ctx, or err with the last lines that
// the command printed, without the credentials of URLs. It is nil if neither happened.
func Failure(ctx context.Context, cmd *exec.Cmd, err error, printed string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("running %s: %w", cmd.Args[0], context.Cause(ctx))
	}
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(Redact(printed)), "\n")
	if text := strings.Join(lines[max(0, len(lines)-3):], "; "); text != "" {
		return fmt.Errorf("running %s: %w: %s", cmd.Args[0], err, text)
	}
	return fmt.Errorf("running %s: %w", cmd.Args[0], err)
}
