package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// restartLimit is how long a unit may take to start again.
const restartLimit = 3 * time.Minute

// searched are the folders of the node with its programs.
const searched = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"

// Active returns those of some units that are active.
func (h Host) Active(ctx context.Context, units []string) ([]string, error) {
	var active []string
	for _, unit := range units {
		err := h.systemctl(ctx, "is-active", "--quiet", unit)
		var ended *exec.ExitError
		switch {
		case err == nil:
			active = append(active, unit)
		case !errors.As(err, &ended):
			return nil, err
		}
	}
	return active, nil
}

// Apply does what services ask for, in their order.
func (h Host) Apply(ctx context.Context, s Services) error {
	var calls [][]string
	if s.Reload || len(s.Restart) > 0 {
		calls = append(calls, []string{"daemon-reload"})
	}
	for _, unit := range slices.Concat(s.Start, s.Restart) {
		calls = append(calls, []string{"restart", unit})
	}
	for _, call := range calls {
		if err := h.systemctl(ctx, call...); err != nil {
			return err
		}
	}
	for _, unit := range s.Stop {
		// One that was never loaded is stopped.
		if err := h.systemctl(ctx, "stop", unit); err != nil && h.systemctl(ctx, "is-active", "--quiet", unit) == nil {
			return err
		}
	}
	return nil
}

// systemctl runs the node's own program in the node's mount namespace, which is that of the
// process with the ID 1.
func (h Host) systemctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restartLimit, fmt.Errorf("it took more than %s", restartLimit))
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- h.inMounts(ctx, args) }()
	return <-result
}

// inMounts runs systemctl. The thread never returns to another goroutine: it ends with
// this one, because it stays in the namespace.
func (h Host) inMounts(ctx context.Context, args []string) error {
	cmd := command.New(ctx, "systemctl", args...)
	if h.Mounts != "" {
		runtime.LockOSThread()
		if err := enter(h.Mounts); err != nil {
			return fmt.Errorf("entering the mount namespace of the node: %w: the pod needs hostPID and privileged", err)
		}
		cmd = command.New(ctx, "systemctl", args...) // Found in the namespace.
		cmd.Env = append(cmd.Env, searched)
	}
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	return command.Failure(ctx, cmd, cmd.Run(), printed.String())
}

// enter moves this thread into a mount namespace.
func enter(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Setns(fd, unix.CLONE_NEWNS)
}
