package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// ConfigVersion is the newest version of configuration files that containerd reads.
const ConfigVersion = 3

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

// The settings of the newest version that keep the folders of networks off the
// machine, and that give a snapshotter a runtime.
const (
	networks = `
[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = %q
bin_dirs = [%q]
`
	runtime = `
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.%[1]q]
runtime_type = "io.containerd.runc.v2"
snapshotter = %[1]q

[plugins."io.containerd.cri.v1.images".runtime_platforms.%[1]q]
snapshotter = %[1]q
`
)

// Settings are what the CRI needs on top of a drop-in of the newest version: folders
// in dir, and a runtime for each snapshotter, of its name.
func Settings(dir string, snapshotters ...string) string {
	text := fmt.Sprintf(networks, filepath.Join(dir, "net.d"), filepath.Join(dir, "bin"))
	for _, snapshotter := range snapshotters {
		text += fmt.Sprintf(runtime, snapshotter)
	}
	return text
}

// Configure writes into dir, which gets all state of containerd, a configuration of
// a version that imports a drop-in, and returns its path.
func Configure(dir, dropIn string, version int) (string, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	imported, path := in(fmt.Sprintf("drop-in-v%d.toml", version)), in(fmt.Sprintf("config-v%d.toml", version))
	text := fmt.Sprintf(config, version, in("root"), in("state"), imported, socketIn(dir), in("opt"))
	err := os.MkdirAll(dir, 0o700)
	if err = errors.Join(err, os.WriteFile(imported, []byte(dropIn), 0o600), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		return "", fmt.Errorf("writing the configuration of containerd: %w", err)
	}
	return path, nil
}

func socketIn(dir string) string { return filepath.Join(dir, "containerd.sock") }

// Dump returns the configuration that containerd makes of a file and its imports.
func (i Installed) Dump(ctx context.Context, path string) (string, error) {
	return host.Output(command.New(ctx, i.Daemon, "--config", path, "config", "dump"))
}
