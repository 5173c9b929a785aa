// Package host lists the programs of the distribution that the embedded engine
// and the bases of its builders need, and installs them with apt.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Requirement is a program or file that must be on the machine.
type Requirement struct {
	// Name is a program, or the path of a file or folder.
	Name string `json:"name"`
	// Why says what it is for.
	Why string `json:"why"`
	// Package is the package of Debian and Ubuntu that has it.
	Package string `json:"package"`
	// Present reports whether the machine has it.
	Present bool `json:"present"`
}

// Requirements returns what the embedded engine needs in addition to Go.
func Requirements() []Requirement {
	return examine([]Requirement{
		{Name: "runc", Why: "runs the containers", Package: "runc"},
		{Name: "/usr/lib/cni/bridge", Why: "connects the containers (CNI plugins)", Package: "containernetworking-plugins"},
		{Name: "dnsmasq", Why: "resolves names for the containers", Package: "dnsmasq-base"},
		{Name: "iptables", Why: "writes the rules of the CNI plugins", Package: "iptables"},
		{Name: "nft", Why: "connects the engine to the network", Package: "nftables"},
		{Name: "ip", Why: "connects the engine to the network", Package: "iproute2"},
		{Name: "mmdebstrap", Why: "makes the base of a builder if no registry answers", Package: "mmdebstrap"},
		{Name: "/usr/share/keyrings/debian-archive-keyring.gpg", Why: "verifies Debian's packages and sources", Package: "debian-archive-keyring"},
	})
}

// examine sets Present of each requirement.
func examine(requirements []Requirement) []Requirement {
	for i, r := range requirements {
		var err error
		if filepath.IsAbs(r.Name) {
			_, err = os.Stat(r.Name)
		} else {
			_, err = command.LookPath(r.Name)
		}
		requirements[i].Present = err == nil
	}
	return requirements
}

// missing returns the requirements that are not met now.
func missing(requirements []Requirement) []Requirement {
	return slices.DeleteFunc(examine(slices.Clone(requirements)), func(r Requirement) bool { return r.Present })
}

// Check fails if requirements are not met; the error has the command that
// installs them.
func Check() error {
	var names []string
	absent := missing(Requirements())
	for _, r := range absent {
		names = append(names, r.Name)
	}
	if names == nil {
		return nil
	}
	return fmt.Errorf("the embedded engine needs %s: run `%s`", strings.Join(names, ", "), InstallCommand(absent))
}

// InstallCommand returns the command that installs the requirements that are not met;
// "" if all are.
func InstallCommand(requirements []Requirement) string {
	if names := packages(requirements); names != nil {
		return "apt-get update && apt-get install --yes --no-install-recommends " + strings.Join(names, " ")
	}
	return ""
}

func packages(requirements []Requirement) (names []string) {
	for _, r := range requirements {
		if !r.Present {
			names = append(names, r.Package)
		}
	}
	return names
}

const (
	// installLock lets one process of the machine install at a time.
	installLock = "/run/kata-pipelines-install.lock"
	// listsLock is what `apt-get update` locks with fcntl; unlike for dpkg's lock,
	// apt has no option to wait for it.
	listsLock = "/var/lib/apt/lists/lock"
	// listsTimeout bounds the wait for another apt that has the lock, listsPoll is
	// how often to check.
	listsTimeout = 5 * time.Minute
	listsPoll    = 100 * time.Millisecond
)

// Install installs what is missing, as root with apt. Concurrent processes wait for
// each other. Once begun, an installation finishes even if ctx or this program ends.
func Install(ctx context.Context, report *progress.Reporter) error {
	return installer{report, installLock, listsLock}.install(ctx, Requirements())
}

type installer struct {
	report      *progress.Reporter
	lock, lists string
}

func (i installer) install(ctx context.Context, requirements []Requirement) error {
	absent := missing(requirements)
	if len(absent) == 0 {
		return nil
	}
	for _, r := range absent {
		i.report.Note("engine", fmt.Sprintf("the embedded engine needs %s, which %s (package %s)", r.Name, r.Why, r.Package))
	}
	i.report.Note("engine", "installing once: "+InstallCommand(absent))
	err := i.locked(ctx, absent)
	if err != nil {
		return fmt.Errorf("installing packages for the embedded engine (by hand: `%s`): %w", InstallCommand(absent), err)
	}
	return nil
}

// locked takes the lock and installs what is still missing then.
func (i installer) locked(ctx context.Context, absent []Requirement) error {
	if _, err := command.LookPath("apt-get"); err != nil {
		return errors.New("this machine has no apt-get")
	}
	unlock, err := files.Lock(ctx, i.lock, files.Waiting{
		Report: i.report, Subject: "engine", Text: "waiting for another process that installs the engine's packages",
	})
	if err != nil {
		return err
	}
	defer unlock()
	if absent = missing(absent); len(absent) == 0 {
		return nil
	}
	stage := i.report.Stage("engine", "install")
	err = i.apt(ctx, absent, stage)
	stage.End(err, "")
	if err != nil {
		return err
	}
	for _, r := range missing(absent) {
		return fmt.Errorf("package %s is installed, but %s is still missing", r.Package, r.Name)
	}
	return nil
}

// apt updates the lists of packages and installs those that are missing. Killed
// halfway, dpkg leaves the machine's packages broken, so neither the context, nor a
// terminal's Ctrl-C, nor the end of this program and its pipes ends it.
func (i installer) apt(ctx context.Context, absent []Requirement, stage *progress.Stage) error {
	if err := i.update(ctx, stage); err != nil {
		return err
	}
	output, err := os.CreateTemp("", "kata-pipelines-apt-*.log")
	if err != nil {
		return fmt.Errorf("creating a file for the output of apt-get: %w", err)
	}
	defer output.Close()
	defer os.Remove(output.Name())
	defer context.AfterFunc(ctx, func() { stage.Note("finishing the installation of packages before ending") })()
	// The option makes apt wait for another apt.
	args := []string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}
	cmd := aptGet(context.WithoutCancel(ctx), append(args, packages(absent)...)...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The output of apt-get follows at its end: until then, the stage shows this line.
	fmt.Fprintf(stage, "installing %s\n", strings.Join(packages(absent), " "))
	err = cmd.Run()
	_, reading := io.Copy(stage, io.NewSectionReader(output, 0, 1<<30))
	return errors.Join(command.Failure(ctx, cmd, err, ""), reading)
}

// update fetches the lists of packages. It waits for another apt that fetches them.
func (i installer) update(ctx context.Context, stage *progress.Stage) error {
	deadline := time.Now().Add(listsTimeout)
	for noted := false; ; noted = true {
		cmd := aptGet(ctx, "update")
		cmd.Stdout, cmd.Stderr = stage, stage
		err := cmd.Run()
		if err == nil || ctx.Err() != nil || !lockedByOther(i.lists) || time.Now().After(deadline) {
			return command.Failure(ctx, cmd, err, "")
		}
		if !noted {
			stage.Note("waiting for another apt that updates the lists of packages")
		}
		for lockedByOther(i.lists) && ctx.Err() == nil && time.Now().Before(deadline) {
			time.Sleep(listsPoll)
		}
	}
}

func aptGet(ctx context.Context, args ...string) *exec.Cmd {
	cmd := command.New(ctx, "apt-get", args...)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive")
	return cmd
}

// lockedByOther reports whether another process has an fcntl lock on a file.
func lockedByOther(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}
