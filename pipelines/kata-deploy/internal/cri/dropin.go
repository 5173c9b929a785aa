package cri

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Handler is a handler of the runtime, with paths on the node.
type Handler struct {
	// Name is "kata-qemu".
	Name string
	// Program is the shim's, Config its configuration.
	Program, Config string
	// Snapshotter is the name of its own, "" for the runtime's default.
	Snapshotter string
	// GuestPull has CRI-O leave the pull of images to the guest.
	GuestPull bool
}

// Options say what a drop-in holds.
type Options struct {
	Handlers []Handler
	// Proxies are snapshotters that run as services of the node; Erofs asks for that of
	// containerd.
	Proxies []string
	Erofs   bool
	Debug   bool
}

// Socket returns the path on the node of a snapshotter's socket.
func Socket(snapshotter string) string { return "/run/" + snapshotter + "/containerd-nydus-grpc.sock" }

// Data returns the path on the node of a snapshotter's data.
func Data(snapshotter string) string { return "/var/lib/" + snapshotter }

type table = map[string]any

// The plugins of containerd, by the version of its configuration.
const (
	pluginV2      = "io.containerd.grpc.v1.cri"
	pluginRuntime = "io.containerd.cri.v1.runtime"
	pluginImages  = "io.containerd.cri.v1.images"
)

const head = "# Managed by kata-deploy, which replaces this file.\n"

// headMerged is what a person must know about a drop-in for containerd 1.
const headMerged = head + `# containerd 1 takes the whole plugin ` + pluginV2 + ` from the last file that has it, so this
# file repeats what the others say about it. Restart kata-deploy's pod after a change there.
`

// Containerd makes the drop-in for containerd. Base is the table of the CRI plugin that
// the drop-in replaces, for containerd 1, whose files replace whole plugins: nil for later
// ones, which merge.
func Containerd(version int, base map[string]any, o Options) ([]byte, error) {
	var plugins table
	switch {
	case version == 2:
		plugins = table{pluginV2: o.version2(base)}
	case version >= 3:
		plugins = o.version3()
	default:
		return nil, fmt.Errorf("containerd's configuration has version %d: want 2 or newer", version)
	}
	tree := table{"version": version, "plugins": plugins}
	if proxies := (table{}); len(o.Proxies) > 0 {
		for _, name := range o.Proxies {
			proxies[name] = table{"type": "snapshot", "address": Socket(name), "exports": table{"root": Data(name), "enable_remote_snapshot_annotations": "true"}}
		}
		tree["proxy_plugins"] = proxies
	}
	if o.Debug {
		tree["debug"] = table{"level": "debug"}
	}
	content, err := toml.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("writing the drop-in for containerd: %w", err)
	}
	if base != nil {
		return append([]byte(headMerged), content...), nil
	}
	return append([]byte(head), content...), nil
}

func (o Options) runtimes() table {
	runtimes := table{}
	for _, h := range o.Handlers {
		runtime := table{
			"runtime_type": "io.containerd." + h.Name + ".v2", "runtime_path": h.Program,
			"privileged_without_host_devices": true, "pod_annotations": []string{"io.katacontainers.*"},
			"options": table{"ConfigPath": h.Config},
		}
		if h.Snapshotter != "" {
			runtime["snapshotter"] = h.Snapshotter
		}
		runtimes[h.Name] = runtime
	}
	return runtimes
}

func (o Options) version2(base table) table {
	plugin := merge(base, table{"containerd": table{"runtimes": o.runtimes()}})
	containerd := plugin["containerd"].(table)
	if runtimes := containerd["runtimes"].(table); base != nil && runtimes["runc"] == nil {
		// A list of runtimes replaces the default one, which has runc.
		runtimes["runc"] = table{"runtime_type": "io.containerd.runc.v2"}
	}
	if len(o.Proxies) > 0 {
		containerd["disable_snapshot_annotations"] = false
	}
	return plugin
}

func (o Options) version3() table {
	images, platforms := table{}, table{}
	for _, h := range o.Handlers {
		if h.Snapshotter != "" {
			// Without it containerd pulls with its default snapshotter.
			platforms[h.Name] = table{"snapshotter": h.Snapshotter}
		}
	}
	if len(platforms) > 0 {
		images["runtime_platforms"] = platforms
	}
	if len(o.Proxies) > 0 {
		images["disable_snapshot_annotations"] = false
	}
	plugins := table{pluginRuntime: table{"containerd": table{"runtimes": o.runtimes()}}}
	if o.Erofs {
		images["discard_unpacked_layers"] = false
		plugins["io.containerd.service.v1.diff-service"] = table{"default": []string{"erofs", "walking"}}
		plugins["io.containerd.snapshotter.v1.erofs"] = table{"enable_fsverity": true, "set_immutable": true}
	}
	if len(images) > 0 {
		plugins[pluginImages] = images
	}
	return plugins
}

// merge returns the values of two tables; those of the second one win.
func merge(one, other table) table {
	merged := maps.Clone(one)
	if merged == nil {
		merged = table{}
	}
	for name, value := range other {
		inner, ok := value.(table)
		before, both := merged[name].(table)
		if ok && (both || merged[name] == nil) {
			value = merge(before, inner)
		}
		merged[name] = value
	}
	return merged
}

// CrioDir is the folder of CRI-O's drop-ins. It reads every file there, and in the folders
// below, in the order of their paths.
const CrioDir = "/etc/crio/crio.conf.d"

// CrioPath returns the path of CRI-O's drop-in.
func CrioPath(suffix string) string {
	return path.Join(CrioDir, strings.TrimSuffix("99-kata-deploy-"+suffix, "-"))
}

// CrioDropIn makes the drop-in for CRI-O.
func CrioDropIn(o Options) ([]byte, error) {
	runtimes := table{}
	for _, h := range o.Handlers {
		runtime := table{
			"runtime_path": h.Program, "runtime_type": "vm", "runtime_root": "/run/vc",
			"runtime_config_path": h.Config, "privileged_without_host_devices": true,
		}
		if h.GuestPull {
			runtime["runtime_pull_image"] = true
		}
		runtimes[h.Name] = runtime
	}
	runtime := table{"runtimes": runtimes}
	if o.Debug {
		runtime["log_level"] = "debug"
	}
	content, err := toml.Marshal(table{"crio": table{"storage_option": []string{"overlay.skip_mount_home=true"}, "runtime": runtime}})
	if err != nil {
		return nil, fmt.Errorf("writing the drop-in for CRI-O: %w", err)
	}
	return append([]byte(head), content...), nil
}

// setUp returns the snapshotters that an installation sets up, sorted.
func (o Options) setUp() []string {
	names := slices.Clone(o.Proxies)
	if o.Erofs {
		names = append(names, "erofs")
	}
	slices.Sort(names)
	return names
}
