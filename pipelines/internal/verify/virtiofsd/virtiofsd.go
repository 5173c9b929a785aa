// Package virtiofsd verifies the daemon that shares folders with guests: it serves one to
// a real guest, which reads, writes and maps files in it.
package virtiofsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Daemon is a virtiofsd for an architecture, as `uname -m` prints it.
type Daemon struct{ Arch string }

const program = "opt/kata/libexec/virtiofsd"

// Layout has only the program.
func (Daemon) Layout() tarball.Layout { return tarball.Layout{program: {Mode: 0o755}} }

// Checks are those of the files and of the guest.
func (Daemon) Checks() []string { return []string{"members", "shared folder", "submounts"} }

// Check serves a folder to a guest.
func (d Daemon) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	d.Layout().Check(r, t, program)
	s := &share{Daemon: d, Host: h, dir: t.Dir, folder: t.Path("shared"), nonce: rand.Text(), console: guest.NewConsole()}
	saw, err := s.serve(ctx, t.Path(program))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, skipped := report.AsMissing(err)
	if err == nil || skipped || len(s.result.Tail) == 0 {
		r.Result("shared folder", saw, err)
	} else {
		r.Add(report.Check{Name: "shared folder", Verdict: report.Failed, Saw: err.Error(), Console: s.result.Tail})
	}
	r.Run("submounts", s.judgeSubmounts)
	return nil
}

type share struct {
	Daemon
	host.Host
	dir, folder string
	// nonce is what host and guest write.
	nonce   string
	console *guest.Console
	result  host.Result
	// noMount is why there is no mount in the folder.
	noMount error
}

// serve runs the daemon and the guest, and compares what both sides see.
func (s *share) serve(ctx context.Context, daemon string) (saw string, err error) {
	machine, qemu, err := s.MachineFor(s.Arch)
	switch {
	case err != nil:
		return "", err
	case catalog.Arch(s.Arch).GoArch() != runtime.GOARCH:
		return "", report.Missing("this machine does not run programs for " + s.Arch)
	}
	spec, err := guest.Files(ctx, s.Host, s.Arch, "vmlinuz", s.dir)
	if err != nil {
		return "", err
	}
	spec.ShareTag = serial.ShareTag
	if err := os.MkdirAll(filepath.Join(s.folder, serial.Submount), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(s.folder, serial.FromHost), []byte(s.nonce), 0o644); err != nil {
		return "", err
	}
	socket, sandbox, log := filepath.Join(s.dir, "socket"), "none", filepath.Join(s.dir, "log")
	if os.Geteuid() == 0 {
		sandbox = "namespace"
	}
	d, err := s.start(ctx, daemon, socket, sandbox, log)
	if err != nil {
		return "", err
	}
	s.Note("booting a guest that mounts a folder of virtiofsd in " + machine.Program)
	s.result, err = s.Boot(ctx, qemu, machine.Brief(spec, socket, serial.Brief), s.console.Line)
	if err := errors.Join(err, d.Kill()); err != nil {
		return "", err
	}
	if err := s.judge(machine); err != nil {
		printed, _ := os.ReadFile(log) // Without a log there is nothing to add.
		return "", fmt.Errorf("%w%s", err, host.Indented(string(printed)))
	}
	return fmt.Sprintf("read, written, renamed, removed and mapped by a guest, with --sandbox %s; guest on for %.1f s", sandbox, s.result.Elapsed.Seconds()), nil
}

// start starts the daemon with a socket that listens, as Kata does.
func (s *share) start(ctx context.Context, daemon, socket, sandbox, log string) (*host.Daemon, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	unix, ok := listener.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("%s is not a unix socket", socket)
	}
	unix.SetUnlinkOnClose(false)
	file, err := unix.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	args := []string{daemon, "--fd=3", "--shared-dir=" + s.folder, "--sandbox=" + sandbox, "--announce-submounts"}
	unshare, err := s.Find("unshare", "util-linux")
	switch s.noMount = err; {
	case err == nil && os.Geteuid() != 0:
		s.noMount = report.Missing("only root can mount in the shared folder")
	case err == nil:
		// The mount goes with the daemon.
		const script = `mount -t tmpfs none "$1" && shift && exec "$@"`
		args = append([]string{unshare, "--mount", "sh", "-c", script, "sh", filepath.Join(s.folder, serial.Submount)}, args...)
	}
	return host.StartDaemon(ctx, host.DaemonSpec{Program: args[0], Args: args[1:], Files: []*os.File{file}, Log: log, Ready: s.Timeout})
}

// judgeSubmounts says whether the guest could use a mount of the host in the folder, and
// unmount it, again and again. A kernel that does not wait for the end of its requests
// crashes (assets/kernel/patches).
func (s *share) judgeSubmounts() (saw string, err error) {
	o, there := s.console.Saw[serial.Submounts]
	_, before := s.console.Saw[serial.Mount+"virtiofs"]
	switch {
	case s.noMount != nil:
		return "", s.noMount
	case !there && before:
		return "", errors.New("the guest used the folder, and then crashed or hung at a mount in it")
	case !there:
		return "", report.Missing("the guest did not get that far")
	case o.Error != "":
		return "", fmt.Errorf("in the guest: %s", o.Error)
	}
	return fmt.Sprintf("a mount in the folder used and unmounted %d times by the guest", o.Size), nil
}

// judge says what is wrong with what the guest and the host have seen.
func (s *share) judge(machine host.Machine) error {
	if boot := s.console.Booted(machine, s.result); boot.Verdict != report.Passed {
		return errors.New(boot.Saw)
	}
	if err := s.console.Defects(); err != nil {
		return err
	}
	o := s.console.Saw[serial.Mount+"virtiofs"]
	if o.Error != "" {
		return fmt.Errorf("in the guest: %s", o.Error)
	}
	if o.Value != s.nonce {
		return fmt.Errorf("the guest reads %q: want %q", o.Value, s.nonce)
	}
	if want := []string{serial.FromGuest, serial.FromHost, serial.Submount}; !slices.Equal(o.Items, want) {
		return fmt.Errorf("the guest lists %q: want %q", o.Items, want)
	}
	for _, name := range []string{serial.FromGuest, serial.Mapped} {
		content, err := os.ReadFile(filepath.Join(s.folder, name))
		if err != nil {
			return fmt.Errorf("on the host: %w", err)
		}
		if got := strings.TrimRight(string(content), "\x00"); got != s.nonce {
			return fmt.Errorf("on the host, %s has %q: want %q", name, got, s.nonce)
		}
	}
	return nil
}
