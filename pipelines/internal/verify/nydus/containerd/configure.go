package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

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

// networks keeps the folders of networks off the machine, in each version, and runtimes
// has a runtime of the CRI use the snapshotter that is called like it.
var (
	networks = map[int]string{
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
	runtimes = map[int]string{
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
	dropIn += fmt.Sprintf(networks[version], in("net.d"), in("bin"))
	for _, snapshotter := range snapshotters {
		dropIn += fmt.Sprintf(runtimes[version], snapshotter)
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
