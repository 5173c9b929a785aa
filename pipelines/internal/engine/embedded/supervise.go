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
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
)

// SuperviseArgs returns the arguments that this program starts itself with as the
// supervisor. The command line hands them to Supervise.
func SuperviseArgs() []string { return []string{"engine", "supervise"} }

// configVariable carries a config to the supervisor and on to init; readyFD is
// where init waits for its network.
const (
	configVariable = "KATA_ENGINE_CONFIG"
	readyFD        = 3
)

// config is what the supervisor and init need to know.
type config struct {
	// CacheDir is what the engine's network is named after.
	CacheDir  string   `json:"cache_dir"`
	State     string   `json:"state"`
	Root      string   `json:"root"`
	Socket    string   `json:"socket"`
	Bin       string   `json:"bin"`
	Runc      string   `json:"runc"`
	CNI       string   `json:"cni"`
	Uplink    uplink   `json:"uplink"`
	Resolvers []string `json:"resolvers"`
	// Init is set for the process in the new namespaces.
	Init bool `json:"init"`
}

// config looks at the host for what an engine started now would use.
func (m *Manager) config(bin string) (config, error) {
	c := config{CacheDir: m.CacheDir, State: m.statePath(), Root: m.root(), Socket: m.socketPath(), Bin: bin, CNI: cniFolder}
	if len(c.Socket) > 100 {
		return c, fmt.Errorf("the cache directory's path is too long for a unix socket in it (%d bytes, at most 100): choose a shorter one with --cache-dir", len(c.Socket))
	}
	var err error
	if c.Runc, err = host.LookPath("runc"); err != nil {
		return c, fmt.Errorf("finding runc: %w", err)
	}
	c.Uplink = nameUplink(m.CacheDir)
	c.Resolvers, err = hostResolvers()
	return c, err
}

// Supervise is the body of the supervisor, and of init, which it starts from
// the same program. It returns when the engine has ended; the end of ctx and
// the signals that end programs end it.
func Supervise(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &c); err != nil {
		return errors.New("this command is started by `engine start` alone")
	}
	if c.Init {
		return c.init(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err // told to end before anything began
	}
	// The kernel sends Pdeathsig when the thread ends that started the child.
	runtime.LockOSThread()
	supervisor, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	s := state{Supervisor: supervisor, Build: c.Bin, Uplink: c.Uplink}
	return errors.Join(c.run(ctx, s), s.clear())
}

// run starts init in its namespaces, connects it, and waits for its end.
func (c config) run(ctx context.Context, s state) error {
	if err := s.write(c.State); err != nil {
		return fmt.Errorf("writing the state of the engine: %w", err)
	}
	unlock, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if c.Uplink, err = chooseUplink(c.CacheDir); err != nil {
		return err
	}
	s.Uplink = c.Uplink
	if err := prepareHost(); err != nil {
		return err
	}
	c.Init = true
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	ready, connected, err := os.Pipe()
	if err != nil {
		return err
	}
	defer connected.Close()
	cmd := reexec()
	cmd.Env = append(environment(os.Environ()), configVariable+"="+string(data))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the engine's namespaces: %w", err)
	}
	if err := ready.Close(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := c.connect(s, cmd.Process.Pid, connected); err != nil {
		err = errors.Join(err, tell(cmd.Process, syscall.SIGKILL))
		<-ended
		return err
	}
	unlock()
	select {
	case err = <-ended:
		return fmt.Errorf("the engine ended by itself: %w", err)
	case <-ctx.Done():
	}
	err = tell(cmd.Process, syscall.SIGTERM)
	if !waitFor(stopTimeout/2, func() bool { return len(ended) > 0 }) {
		err = errors.Join(err, tell(cmd.Process, syscall.SIGKILL))
	}
	<-ended
	return err
}

// tell sends a signal to a child that may have ended.
func tell(child *os.Process, signal os.Signal) error {
	if err := child.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// connect gives init its uplink and tells it so.
func (c config) connect(s state, pid int, connected *os.File) (err error) {
	if s.Init, err = identify(pid); err != nil {
		return err
	}
	if err := s.write(c.State); err != nil {
		return fmt.Errorf("writing the state of the engine: %w", err)
	}
	if err := c.Uplink.add(pid); err != nil {
		return fmt.Errorf("connecting the engine to the network: %w", err)
	}
	if _, err := connected.Write([]byte{1}); err != nil {
		return fmt.Errorf("telling the engine that it is connected: %w", err)
	}
	return nil
}

// kept are the variables that the engine gets from whoever starts it: it must
// not hold the secrets of that command's environment as long as it lives.
var kept = []string{
	"PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

func environment(all []string) []string {
	return host.Environ(slices.DeleteFunc(slices.Clone(all), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(kept, name)
	}))
}

// reexec runs this program again, even if its file is gone by now, as that of
// `go run` is.
func reexec() *exec.Cmd {
	// It outlives the command that starts it.
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", SuperviseArgs()...)
	cmd.Args[0] = os.Args[0]
	return cmd
}
