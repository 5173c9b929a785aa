package common

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// runs starts the declared programs, and compares what they print.
func (s *subject) runs(ctx context.Context) (saw string, err error) {
	declared := s.Asset.Checks.Runs
	switch {
	case len(declared) == 0:
		return "", report.Missing(s.Asset.Pos + " declares no program to run")
	case s.Skip != "":
		return "", report.Missing(s.Skip)
	}
	var lines []string
	var problems []error
	for _, run := range declared {
		line, err := s.run(ctx, run)
		if _, skipped := report.AsMissing(err); skipped {
			return "", err
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", run, err))
		}
		lines = append(lines, run.String()+": "+line)
	}
	return strings.Join(lines, "\n"), errors.Join(problems...)
}

// run starts a program and returns the line of its output that is wanted.
func (s *subject) run(ctx context.Context, run catalog.Run) (line string, err error) {
	want, err := run.Pattern(s.Values)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(s.t.Path(run.File)); errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("it is not a file of the tarball")
	}
	start, err := s.starter(ctx, run.File)
	if err != nil {
		return "", err
	}
	output, err := s.output(ctx, nil, slices.Concat(start, run.Args)...)
	if err != nil {
		return "", err
	}
	if !want.MatchString(output) {
		const shown = 500
		return "", fmt.Errorf("it prints %q: want %s", output[:min(len(output), shown)], want)
	}
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); want.MatchString(line) {
			return line, nil
		}
	}
	return "prints " + want.String(), nil
}

// output runs a command in the folder of the tarball, and returns what it prints, on
// either stream: programs print their version on both. The error also has the end of
// that. What the command has started ends with it.
func (s *subject) output(ctx context.Context, variables []string, args ...string) (string, error) {
	timed, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	var output host.Printed
	cmd := command.New(timed, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.t.Dir, &output, &output
	cmd.Env = slices.Concat(cmd.Env, variables, []string{s.mark()})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	wait, err := host.Start(cmd)
	if err == nil {
		err = wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // There may be none left.
		s.killMarked()
	}
	// Proofs of two runs are the same: without the folder of this one.
	text := strings.TrimSpace(strings.ReplaceAll(output.String(), s.t.Dir+"/", ""))
	if start := new(fs.PathError); errors.As(err, &start) {
		err = fmt.Errorf("it does not start: %w", start.Err)
	}
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("it has not ended after %v", s.Timeout)
	}
	if err = cmp.Or(output.Err(), err); err != nil {
		const end = 500
		return text, fmt.Errorf("%w%s", err, host.Indented(text[max(0, len(text)-end):]))
	}
	return text, nil
}

// mark is a variable that all processes of a check have, also those in a session of their
// own: the folder has a new name in each run.
func (s *subject) mark() string { return "VERIFIED_IN=" + s.t.Dir }

// killMarked kills the processes that have the mark, until there are none. One may start
// another just before it is killed.
func (s *subject) killMarked() {
	for deadline := time.Now().Add(command.Grace); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		processes, _ := filepath.Glob("/proc/[0-9]*/environ") // The pattern is valid.
		left := slices.DeleteFunc(processes, func(path string) bool {
			environ, _ := os.ReadFile(path) // That of another user cannot be read, and of a dead one is empty.
			return !slices.Contains(strings.Split(string(environ), "\x00"), s.mark())
		})
		if len(left) == 0 {
			return
		}
		for _, path := range left {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // It may have ended.
			}
		}
	}
}

// starter returns the beginning of the command that starts a program. The error is a
// report.Missing if this machine cannot start it.
func (s *subject) starter(ctx context.Context, file string) ([]string, error) {
	program, interpreter := s.t.Path(file), ""
	if at := slices.IndexFunc(s.objects, func(o object) bool { return o.name == file }); at >= 0 {
		interpreter = s.objects[at].interpreter
	}
	foreign := s.Arch.GoArch() != runtime.GOARCH
	switch {
	case foreign && interpreter != "":
		return nil, report.Missing("this machine has no libraries for " + string(s.Arch))
	case foreign:
		for _, name := range []string{"qemu-" + string(s.Arch) + "-static", "qemu-" + string(s.Arch)} {
			if path, err := s.LookPath(name); err == nil {
				return []string{path, program}, nil
			}
		}
		return nil, report.Missing("this machine does not run programs for " + string(s.Arch) + ": apt-get install qemu-user")
	case interpreter != "":
		// A loader lists what it finds, and what it does not.
		output, err := s.output(ctx, nil, interpreter, "--list", program)
		if err != nil {
			return nil, report.Missing(fmt.Sprintf("this machine cannot load %s: %v", file, err))
		}
		for line := range strings.Lines(output) {
			if strings.Contains(line, "not found") {
				return nil, report.Missing("this machine has other libraries: " + strings.TrimSpace(line))
			}
		}
	}
	return []string{program}, nil
}

// skip is the exit code of a script that cannot run on this machine, as for automake.
const skip = 77

// script runs a script of the family on the unpacked tarball. The last line that it prints
// is what the check saw.
func (s *subject) script(ctx context.Context, name string) (saw string, err error) {
	switch {
	case s.Skip != "":
		return "", report.Missing(s.Skip)
	case s.Arch.GoArch() != runtime.GOARCH:
		return "", report.Missing("this machine does not run programs for " + string(s.Arch))
	}
	if err := s.unpackAll(); err != nil {
		return "", err
	}
	variables := []string{"ROOT=" + s.everything(), "ARCH=" + string(s.Arch)}
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		variables = append(variables, name+"="+s.Values[name])
	}
	saw, err = s.output(ctx, variables, "bash", filepath.Join(s.Root, s.Asset.Folder, name))
	saw = saw[strings.LastIndexByte(saw, '\n')+1:]
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == skip {
		return "", report.Missing(saw)
	}
	if err == nil && saw == "" {
		err = errors.New("it prints nothing: say what it has seen")
	}
	return saw, err
}

// everything is where all files of the tarball are unpacked.
func (s *subject) everything() string { return filepath.Join(s.t.Dir, "everything") }

// unpackAll unpacks the tarball, which was vetted, once for all scripts.
func (s *subject) unpackAll() error {
	if files.Exists(s.everything()) {
		return nil
	}
	in, err := files.OpenNamed(s.t.File)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := archive.Unpack(in, s.everything()); err != nil {
		return fmt.Errorf("unpacking %s for scripts: %w", s.t.File, err)
	}
	return nil
}
