//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// superviseArgs are the arguments with which this program starts itself as the
// supervisor; the command line calls Supervise for them.
var superviseArgs = []string{"engine", "supervise"}

// configVariable carries a config to the supervisor and on to init; readyFD is
// where init waits for its network.
const (
	configVariable = "KATA_ENGINE_CONFIG"
	readyFD        = 3
)

// namespaces are those of init.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// config is what the supervisor and init need to know.
type config struct {
	// Manager has only the cache directory.
	Manager   Manager  `json:"manager"`
	Bin       string   `json:"bin"`
	Runc      string   `json:"runc"`
	Uplink    uplink   `json:"uplink"`
	Resolvers []string `json:"resolvers"`
	// Init is set for the process in the new namespaces.
	Init bool `json:"init"`
}

// config returns what an engine that is started now uses.
func (m *Manager) config(bin string) (config, error) {
	c := config{Manager: Manager{CacheDir: m.CacheDir}, Bin: bin}
	if length := len(m.socketPath()); length > 100 {
		return c, fmt.Errorf("the cache directory's path is too long for a unix socket in it (%d bytes, at most 100): choose a shorter one with --cache-dir", length)
	}
	var err error
	if c.Runc, err = command.LookPath("runc"); err != nil {
		return c, fmt.Errorf("finding runc: %w", err)
	}
	c.Resolvers, err = hostResolvers()
	return c, err
}

// Supervise runs the supervisor, or init, which the supervisor starts from the
// same program. It returns when the engine has ended. The end of ctx or a
// termination signal ends the engine.
func Supervise(ctx context.Context) error {
	// An engine may take longer to end than a command.
	signal.Reset()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &c); err != nil {
		return errors.New("only `engine start` runs this command")
	}
	if c.Init {
		return c.init(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err // Nothing has started yet.
	}
	closeInherited()
	// The kernel sends Pdeathsig when the thread ends that started the child.
	runtime.LockOSThread()
	supervisor, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	s := state{Supervisor: supervisor, Build: c.Bin}
	return errors.Join(c.run(ctx, s), c.Manager.clear())
}

// closeInherited closes the descriptors that the command inherited from its caller, such
// as that of flock(1): the supervisor outlives the command, and would hold the lock. Go
// opens its own with FD_CLOEXEC.
func closeInherited() {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// run starts init in its namespaces, connects it, and waits for its end.
func (c config) run(ctx context.Context, s state) error {
	if err := s.write(c.Manager.statePath()); err != nil {
		return err
	}
	unlock, err := files.Lock(ctx, hostLock, files.Waiting{})
	if err != nil {
		return err
	}
	defer unlock()
	if c.Uplink, err = chooseUplink(c.Manager.CacheDir); err == nil {
		err = prepareHost()
	}
	if err != nil {
		return err
	}
	ready, connected, err := os.Pipe()
	if err != nil {
		return err
	}
	defer connected.Close()
	defer ready.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.Init = true
	cmd, err := c.reexec(ctx)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the engine's namespaces: %w", err)
	}
	if err := c.connect(s, cmd.Process.Pid, connected); err != nil {
		stop()
		_ = cmd.Wait() // stop has ended it: err says why.
		return err
	}
	unlock()
	if err := cmd.Wait(); ctx.Err() == nil {
		return fmt.Errorf("the engine ended unexpectedly: %w", err)
	}
	return nil
}

// connect gives init its uplink and lets it continue.
func (c config) connect(s state, pid int, connected *os.File) (err error) {
	if s.Init, err = identify(pid); err != nil {
		return err
	}
	if err := s.write(c.Manager.statePath()); err != nil {
		return err
	}
	if err := c.Uplink.add(pid); err != nil {
		return fmt.Errorf("connecting the engine to the network: %w", err)
	}
	if _, err := connected.Write([]byte{1}); err != nil {
		return fmt.Errorf("telling init that it is connected: %w", err)
	}
	return nil
}

// reexec prepares another run of this program with the config, even if its file no
// longer exists, as after `go run`. The run outlives the command that starts it, so
// it gets none of that command's secrets, and no TMPDIR, which may be removed before
// the run ends. The end of ctx ends it.
func (c config) reexec(ctx context.Context) (*exec.Cmd, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := command.New(ctx, "/proc/self/exe", superviseArgs...)
	cmd.Args[0], cmd.WaitDelay = os.Args[0], stopTimeout/2
	cmd.Env = slices.DeleteFunc(cmd.Env, func(variable string) bool { return strings.HasPrefix(variable, "TMPDIR=") })
	cmd.Env = append(cmd.Env, configVariable+"="+string(data))
	return cmd, nil
}
