package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// installLock lets one process of the machine install at a time.
	installLock = "/run/kata-pipelines-install.lock"
	// listsLock is what `apt-get update` locks with fcntl; unlike dpkg's, apt
	// has no option that waits for it.
	listsLock = "/var/lib/apt/lists/lock"
	// listsTimeout bounds the wait for another apt that has the lists.
	listsTimeout = 5 * time.Minute
	// stopDelay is how long an apt that was asked to end may take to do so.
	stopDelay = 10 * time.Second
)

// ErrNoApt is returned where there is no apt-get to install with.
var ErrNoApt = errors.New("this machine has no apt-get")

// Install installs what is missing, as root with apt; log gets what apt prints,
// note a line for each wait. Processes that install at once wait for each
// other. An installation that has begun is finished even if ctx ends.
func Install(ctx context.Context, missing []Requirement, log io.Writer, note func(string)) error {
	i := installer{log: log, note: note, lock: installLock, lists: listsLock}
	return i.install(ctx, missing)
}

type installer struct {
	log         io.Writer
	note        func(string)
	lock, lists string
}

func (i installer) install(ctx context.Context, missing []Requirement) error {
	apt, err := LookPath("apt-get")
	if err != nil {
		return ErrNoApt
	}
	release, err := Lock(ctx, i.lock, func() { i.note("waiting for another process that installs what the engine needs") })
	if err != nil {
		return err
	}
	defer release()
	missing = slices.DeleteFunc(slices.Clone(missing), Requirement.Present)
	if len(missing) == 0 {
		return nil
	}
	if err := i.update(ctx, apt); err != nil {
		return err
	}
	// Killed halfway, dpkg leaves the machine's packages broken: neither the
	// context nor a terminal's Ctrl-C ends it.
	stop := context.AfterFunc(ctx, func() { i.note("finishing the installation of packages before ending") })
	cmd := i.command(context.WithoutCancel(ctx), apt, installArgs(missing))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = run(cmd)
	stop()
	if err := errors.Join(ctx.Err(), err); err != nil {
		return err
	}
	for _, requirement := range missing {
		if !requirement.Present() {
			return fmt.Errorf("package %s is installed, but %s is still missing", requirement.Package, requirement.Name)
		}
	}
	return nil
}

// update fetches the lists of packages, for which another apt is waited for.
func (i installer) update(ctx context.Context, apt string) error {
	deadline, cancel := context.WithTimeout(ctx, listsTimeout)
	defer cancel()
	for noted := false; ; noted = true {
		cmd := i.command(ctx, apt, []string{"update"})
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = stopDelay
		err := run(cmd)
		if err == nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if !lockedByOther(i.lists) {
			return err
		}
		if !noted {
			i.note("waiting for another apt that updates the lists of packages")
		}
		for lockedByOther(i.lists) {
			select {
			case <-deadline.Done():
				return errors.Join(ctx.Err(), err)
			case <-time.After(lockPoll):
			}
		}
	}
}

func (i installer) command(ctx context.Context, apt string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(Environ(os.Environ()), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = i.log, i.log
	return cmd
}

func run(cmd *exec.Cmd) error {
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}

func installArgs(missing []Requirement) []string {
	// Another apt that is at work is waited for.
	args := []string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}
	return append(args, packages(missing)...)
}

// lockedByOther says whether another process has an fcntl lock on a file.
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
