package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

const (
	// installLock lets one process of the machine install at a time.
	installLock = "/run/kata-pipelines-install.lock"
	// listsLock is what `apt-get update` locks with fcntl; unlike dpkg's, apt
	// has no option that waits for it.
	listsLock = "/var/lib/apt/lists/lock"
	// listsTimeout bounds the wait for another apt that has the lists, listsPoll
	// is how often it looks.
	listsTimeout = 5 * time.Minute
	listsPoll    = 100 * time.Millisecond
)

// ErrNoApt is returned on a machine without apt-get.
var ErrNoApt = errors.New("this machine has no apt-get")

// Install installs what is missing, as root with apt. Processes that install at
// once wait for each other. An installation that has begun is finished even if
// ctx ends.
func Install(ctx context.Context, missing []Requirement, report *progress.Reporter) error {
	return installer{report, installLock, listsLock}.install(ctx, missing)
}

type installer struct {
	report      *progress.Reporter
	lock, lists string
}

func (i installer) install(ctx context.Context, missing []Requirement) error {
	if _, err := command.LookPath("apt-get"); err != nil {
		return ErrNoApt
	}
	unlock, err := files.Lock(ctx, i.lock, files.Waiting{
		Report: i.report, Subject: "engine", Text: "waiting for another process that installs the engine's packages",
	})
	if err != nil {
		return err
	}
	defer unlock()
	missing = slices.DeleteFunc(slices.Clone(missing), Requirement.Present)
	if len(missing) == 0 {
		return nil
	}
	stage := i.report.Stage("engine", "install")
	err = i.apt(ctx, missing, stage)
	stage.End(err, "")
	if err != nil {
		return err
	}
	for _, requirement := range missing {
		if !requirement.Present() {
			return fmt.Errorf("package %s is installed, but %s is still missing", requirement.Package, requirement.Name)
		}
	}
	return nil
}

// apt updates the lists of packages and installs those that are missing.
func (i installer) apt(ctx context.Context, missing []Requirement, stage *progress.Stage) error {
	if err := i.update(ctx, stage); err != nil {
		return err
	}
	// Killed halfway, dpkg leaves the machine's packages broken: neither the
	// context nor a terminal's Ctrl-C ends it.
	stop := context.AfterFunc(ctx, func() { stage.Note("finishing the installation of packages before ending") })
	defer stop()
	cmd := aptGet(context.WithoutCancel(ctx), stage, installArgs(missing)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return command.Failure(ctx, cmd, cmd.Run(), "")
}

// update fetches the lists of packages. It waits for another apt that does.
func (i installer) update(ctx context.Context, stage *progress.Stage) error {
	deadline := time.Now().Add(listsTimeout)
	for noted := false; ; noted = true {
		cmd := aptGet(ctx, stage, "update")
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

func aptGet(ctx context.Context, stage *progress.Stage, args ...string) *exec.Cmd {
	cmd := command.New(ctx, "apt-get", args...)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = stage, stage
	return cmd
}

func installArgs(missing []Requirement) []string {
	// The option makes apt wait for another one that is at work.
	args := []string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}
	return append(args, packages(missing)...)
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
