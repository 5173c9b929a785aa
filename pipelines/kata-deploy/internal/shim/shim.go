// Package shim makes the configuration of a shim on a node: a copy of the shipped file in
// a folder of the handler's own, and drop-ins next to it. The shipped file is never
// edited, so what a node changed is in the drop-ins and nowhere else.
//
// Nothing here knows the names of shims and hypervisors: the shipped file says which
// hypervisor it configures, and its folder which of the two runtimes reads it.
package shim

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
)

// Folders below that of the installation.
const (
	goDir   = "share/defaults/kata-containers"
	rustDir = goDir + "/runtime-rs"
	program = "bin/containerd-shim-kata-v2"
)

// Candidates returns the paths where the shipped configuration of a shim can be. The
// first one that exists is it.
func Candidates(name string) []string {
	paths := []string{path.Join(goDir, file(name)), path.Join(rustDir, file(name))}
	if strings.HasSuffix(name, "-runtime-rs") {
		slices.Reverse(paths)
	}
	return paths
}

func file(name string) string { return "configuration-" + name + ".toml" }

// Shim is a shim with its shipped configuration.
type Shim struct {
	name string
	// dir is the folder of the shipped configuration.
	dir     string
	shipped []byte
	tree    map[string]any
	// hypervisor and agent are the names of the tables that configure them.
	hypervisor, agent string
}

// Parse reads the shipped configuration of a shim, which is at a path.
func Parse(name, at string, shipped []byte) (Shim, error) {
	s := Shim{name: name, dir: path.Dir(at), shipped: shipped}
	if err := toml.Unmarshal(shipped, &s.tree); err != nil {
		return Shim{}, fmt.Errorf("the shim %s: reading %s: %w", name, at, err)
	}
	tables := slices.Sorted(maps.Keys(table(s.tree, "hypervisor")))
	if len(tables) != 1 {
		return Shim{}, fmt.Errorf("the shim %s: %s has %d tables [hypervisor.NAME], want one", name, at, len(tables))
	}
	s.hypervisor, s.agent = tables[0], "kata"
	if agents := slices.Sorted(maps.Keys(table(s.tree, "agent"))); len(agents) > 0 {
		s.agent = agents[0]
	}
	return s, nil
}

// table returns a table of a table, nil if there is none.
func table(of map[string]any, name string) map[string]any {
	inner, _ := of[name].(map[string]any)
	return inner
}

func (s Shim) rust() bool { return s.dir == rustDir }

// Program returns the path of the shim's program below the folder of the installation.
func (s Shim) Program() string {
	if s.rust() {
		return path.Join("runtime-rs", program)
	}
	return program
}

// File is a file below the folder of the installation.
type File struct {
	Path       string
	Content    []byte
	Executable bool
}

// Options say how a handler differs from the shipped configuration.
type Options struct {
	config.Runtime
	// Dir is the folder of the installation on the node.
	Dir string
	// KubeletRoot is the kubelet's folder if it is not the usual one.
	KubeletRoot string
	Debug       bool
	// Mariner selects the Cloud Hypervisor that is linked with glibc.
	Mariner bool
}

// Config returns the path of a handler's configuration below the folder of the
// installation.
func (s Shim) Config(r config.Runtime) string {
	if r.Custom {
		return path.Join(goDir, "custom-runtimes", r.Handler, file(s.name))
	}
	return path.Join(s.dir, "runtimes", s.name, file(s.name))
}

const head = `# Managed by kata-deploy, which replaces this file. Put changes into a file of config.d,
# next to this one: its files are read in the order of their names, and the last one wins.

`

// Files returns the files of a handler: the configuration, its drop-ins, and a program that
// starts QEMU where it was not built for.
func (s Shim) Files(o Options) ([]File, error) {
	at := s.Config(o.Runtime)
	made := []File{{Path: at, Content: append([]byte(head), s.shipped...)}}
	moved, wrapper := s.moved(o.Dir)
	if wrapper != nil {
		made = append(made, *wrapper)
	}
	for _, d := range []struct {
		name string
		tree map[string]any
	}{
		{"10-installation-prefix", moved},
		{"15-host", s.host(o)},
		{"20-debug", s.debug(o)},
		{"22-k0s-kubelet-root", s.kubeletRoot(o)},
		{"30-kernel-params", s.kernelParams(o)},
		{"40-annotations", s.annotations(o)},
		{"45-guest-pull", s.guestPull(o)},
	} {
		if len(d.tree) == 0 {
			continue
		}
		content, err := toml.Marshal(d.tree)
		if err != nil {
			return nil, fmt.Errorf("the shim %s: writing %s: %w", s.name, d.name, err)
		}
		made = append(made, dropIn(at, d.name, append([]byte("# Managed by kata-deploy, which replaces this file.\n\n"), content...)))
	}
	if o.Overrides != nil {
		made = append(made, dropIn(at, "50-overrides", o.Overrides))
	}
	return made, nil
}

func dropIn(configuration, name string, content []byte) File {
	return File{Path: path.Join(path.Dir(configuration), "config.d", name+".toml"), Content: content}
}
