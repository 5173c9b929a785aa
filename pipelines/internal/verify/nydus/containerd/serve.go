package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// Server is a containerd that runs.
type Server struct {
	*host.Daemon
	client, socket string
	// namespace is that of requests; "" is ctr's own.
	namespace string
}

// config is a main configuration. NRI would make folders on the machine.
const config = `version = %d
root = %q
state = %q
imports = [%q]
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = %q

[plugins."io.containerd.internal.v1.opt"]
path = %q
`

// cri keeps the folders of networks off the machine, in each version, and runtime
// has a runtime of the CRI use the snapshotter that is called like it.
var (
	cri = map[int]string{
		2: `
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = %q
bin_dir = %q
`,
		3: `
[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = %q
bin_dirs = [%q]
`,
	}
	runtime = map[int]string{
		2: `
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.%[1]q]
runtime_type = "io.containerd.runc.v2"
snapshotter = %[1]q
`,
		3: `
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.%[1]q]
runtime_type = "io.containerd.runc.v2"
snapshotter = %[1]q

[plugins."io.containerd.cri.v1.images".runtime_platforms.%[1]q]
snapshotter = %[1]q
`,
	}
)

// Configure writes into dir, which gets all state of containerd, a configuration of
// a version that imports a drop-in, and returns its path. Each of the snapshotters has
// a runtime of its name. Our own CRI settings are appended to the drop-in: containerd
// 1.7 takes all tables of a plugin from the last file that has any.
func (i Installed) Configure(dir, dropIn string, version int, snapshotters ...string) (string, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"root", "state", "net.d", "bin"} {
		if err := os.MkdirAll(in(name), 0o700); err != nil {
			return "", fmt.Errorf("making a folder for containerd: %w", err)
		}
	}
	name := fmt.Sprintf("v%d.toml", version)
	dropIn += fmt.Sprintf(cri[version], in("net.d"), in("bin"))
	for _, snapshotter := range snapshotters {
		dropIn += fmt.Sprintf(runtime[version], snapshotter)
	}
	files := map[string]string{
		"drop-in-" + name: dropIn,
		"config-" + name:  fmt.Sprintf(config, version, in("root"), in("state"), in("drop-in-"+name), socketIn(dir), in("opt")),
	}
	for name, text := range files {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("writing the configuration of containerd: %w", err)
		}
	}
	return in("config-" + name), nil
}

func socketIn(dir string) string { return filepath.Join(dir, "containerd.sock") }

// Dump returns the configuration that containerd makes of a file and its imports.
func (i Installed) Dump(ctx context.Context, path string) (string, error) {
	return host.Output(command.New(ctx, i.Daemon, "--config", path, "config", "dump"))
}

// Serve starts containerd with a configuration of Configure in dir.
func (i Installed) Serve(ctx context.Context, dir, path string, ready time.Duration) (*Server, error) {
	d, err := host.StartDaemon(ctx, host.DaemonSpec{
		Program: i.Daemon, Args: []string{"--config", path}, Socket: socketIn(dir), Log: filepath.Join(dir, "log"), Ready: ready,
	})
	if err != nil {
		return nil, err
	}
	return &Server{Daemon: d, client: i.Client, socket: socketIn(dir)}, nil
}

// ctr runs the client.
func (s *Server) ctr(ctx context.Context, args ...string) (string, error) {
	const patience = 30 * time.Second
	timed, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	global := []string{"--address", s.socket}
	if s.namespace != "" {
		global = append(global, "--namespace", s.namespace)
	}
	return host.Output(command.New(timed, s.client, append(global, args...)...))
}

// CRI is the namespace of the CRI.
const CRI = "k8s.io"

// In returns the same server, for another namespace.
func (s *Server) In(namespace string) *Server {
	return &Server{Daemon: s.Daemon, client: s.client, socket: s.socket, namespace: namespace}
}

// Pull has the CRI pull an image for a runtime, with a client of Finder.Puller.
func (s *Server) Pull(ctx context.Context, puller, runtime, image string) error {
	const patience = time.Minute
	timed, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := host.Output(command.New(timed, puller, s.socket, runtime, image))
	return err
}

// Plugin is one of the plugins of a containerd.
type Plugin struct {
	// Type and ID name it: "io.containerd.snapshotter.v1", "overlayfs".
	Type, ID string
	// Status is "ok", "skip" or "error".
	Status string
}

// Plugins lists them.
func (s *Server) Plugins(ctx context.Context) ([]Plugin, error) {
	text, err := s.ctr(ctx, "plugins", "ls")
	if err != nil {
		return nil, err
	}
	return parsePlugins(text)
}

// parsePlugins reads lines of type, id, platforms and status, below a heading.
func parsePlugins(text string) ([]Plugin, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	const minFields = 4
	var plugins []Plugin
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) < minFields {
			return nil, fmt.Errorf("ctr plugins ls says %q: want type, id, platforms and status", line)
		}
		plugins = append(plugins, Plugin{Type: fields[0], ID: fields[1], Status: fields[len(fields)-1]})
	}
	return plugins, nil
}

// Mount is how a snapshot is mounted.
type Mount struct {
	Type, Source, Target string
	Options              []string
}

// Prepare makes an active snapshot on top of a parent, "" for none, and returns how
// it is mounted.
func (s *Server) Prepare(ctx context.Context, snapshotter, key, parent string) ([]Mount, error) {
	args := []string{"snapshots", "--snapshotter", snapshotter, "prepare", "--mounts", key}
	if parent != "" {
		args = append(args, parent)
	}
	text, err := s.ctr(ctx, args...)
	if err != nil {
		return nil, err
	}
	var mounts []Mount
	if err := json.Unmarshal([]byte(text), &mounts); err != nil {
		return nil, fmt.Errorf("reading the mounts of the snapshot %s: %w", key, err)
	}
	return mounts, nil
}

// Commit makes a committed snapshot of an active one.
func (s *Server) Commit(ctx context.Context, snapshotter, name, key string) error {
	_, err := s.ctr(ctx, "snapshots", "--snapshotter", snapshotter, "commit", name, key)
	return err
}

// Remove removes snapshots.
func (s *Server) Remove(ctx context.Context, snapshotter string, keys ...string) error {
	_, err := s.ctr(ctx, append([]string{"snapshots", "--snapshotter", snapshotter, "rm"}, keys...)...)
	return err
}

// Collect has containerd collect garbage now. Otherwise a snapshotter keeps removed
// snapshots until containerd does so in its own time.
func (s *Server) Collect(ctx context.Context) error {
	lease, err := s.ctr(ctx, "leases", "create")
	if err != nil {
		return err
	}
	_, err = s.ctr(ctx, "leases", "delete", "--sync", strings.TrimSpace(lease))
	return err
}

// Snapshots returns the keys of all snapshots, in the order of containerd.
func (s *Server) Snapshots(ctx context.Context, snapshotter string) ([]string, error) {
	text, err := s.ctr(ctx, "snapshots", "--snapshotter", snapshotter, "ls")
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n")[1:] {
		key, _, _ := strings.Cut(line, " ")
		keys = append(keys, key)
	}
	return keys, nil
}
