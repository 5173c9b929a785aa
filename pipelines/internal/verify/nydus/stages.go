package nydus

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types"
	"github.com/pelletier/go-toml/v2"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

func (r *run) find(ctx context.Context) string {
	var err error
	if r.installed, err = containerd.Find(ctx, r.Host); err != nil {
		report.Must(report.Missing(fmt.Sprintf("no containerd: %v", err)))
	}
	return fmt.Sprintf("containerd %s, %s", r.installed.Version, r.installed.From)
}

// imagesPlugin is the table in a dumped configuration that decides whether containerd
// tells snapshotters about images.
const imagesPlugin = "io.containerd.cri.v1.images"

// dropIns has containerd read the drop-in of each version, and keeps a configuration
// with the newest, and with a runtime for each instance.
func (r *run) dropIns(ctx context.Context) string {
	dir := filepath.Join(r.dir, "c")
	var shipped string
	var saw []string
	for version := 2; version <= containerd.ConfigVersion; version++ {
		shipped = r.relocate(string(report.Try(os.ReadFile(filepath.Join(r.dir, dropIn(version))))))
		dump, err := r.installed.Dump(ctx, report.Try(containerd.Configure(dir, shipped, version)))
		if err == nil {
			err = r.checkDump(dump)
		}
		report.Want(err == nil, "the drop-in of version %d: %w", version, err)
		saw = append(saw, fmt.Sprintf("version %d: both proxy plugins, and disable_snapshot_annotations = false in %s", version, imagesPlugin))
	}
	r.config = report.Try(containerd.Configure(dir, shipped+containerd.Settings(dir, guestPull, hostShare), containerd.ConfigVersion))
	return strings.Join(saw, "\n")
}

// checkDump checks what a drop-in sets, in the configuration of the newest version that
// containerd makes of it.
func (r *run) checkDump(dump string) error {
	var config struct {
		Plugins map[string]map[string]any
		Proxy   map[string]struct {
			Type, Address string
			Exports       struct{ Root string }
		} `toml:"proxy_plugins"`
	}
	if err := toml.Unmarshal([]byte(dump), &config); err != nil {
		return fmt.Errorf("reading the dumped configuration: %w", err)
	}
	if got := config.Plugins[imagesPlugin]["disable_snapshot_annotations"]; got != false {
		return fmt.Errorf("disable_snapshot_annotations is \"%v\" in [plugins.%s]: want false", got, imagesPlugin)
	}
	for _, i := range instances {
		plugin := config.Proxy[i.name]
		if want := r.socket(i); plugin.Type != "snapshot" || plugin.Address != want {
			return fmt.Errorf("the proxy plugin %s has type %q and address %q: want snapshot and %s", i.name, plugin.Type, plugin.Address, want)
		}
		if want := r.data(i); plugin.Exports.Root != want {
			return fmt.Errorf("the proxy plugin %s exports the root %q: want %s", i.name, plugin.Exports.Root, want)
		}
	}
	return nil
}

func (r *run) start(ctx context.Context) string {
	for _, i := range instances {
		r.launch(ctx, i)
	}
	r.server = report.Try(r.installed.Serve(ctx, filepath.Join(r.dir, "c"), r.config, r.Timeout))
	return fmt.Sprintf("%s and %s serve at the same time, each in its own folders", guestPull, hostShare)
}

// plugins expects containerd to load both snapshotters, and the CRI, which a drop-in
// could break.
func (r *run) plugins(ctx context.Context) string {
	report.Must(r.server.Plugin(ctx, "io.containerd.snapshotter.v1", guestPull))
	report.Must(r.server.Plugin(ctx, "io.containerd.snapshotter.v1", hostShare))
	report.Must(r.server.Plugin(ctx, "io.containerd.grpc.v1", "cri"))
	return fmt.Sprintf("%s ok, %s ok, cri ok", guestPull, hostShare)
}

// The snapshots that each instance has: a committed one with a file in it, and one
// on top of it.
const (
	baseKey, parentKey, childKey = "base", "parent", "child"
	markName, markText           = "mark", "a layer of an image\n"
)

// layers makes the snapshots of an instance, and returns the mounts of the first and
// of the one on top.
func (r *run) layers(ctx context.Context, i instance) (base, child []*types.Mount) {
	base = report.Try(r.server.Prepare(ctx, i.name, baseKey, ""))
	folders := report.Try(filepath.Glob(filepath.Join(r.data(i), "snapshots", "*", "fs")))
	report.Want(len(folders) == 1, "%s has %d folders of snapshots: want one", r.data(i), len(folders))
	mode := report.Try(os.Stat(folders[0])).Mode().Perm()
	// Processes of any user in a container must be able to search the folder.
	const searchable = fs.FileMode(0o755)
	report.Want(mode == searchable, "%s has mode %v: want %v", folders[0], mode, searchable)
	report.Must(os.WriteFile(filepath.Join(folders[0], markName), []byte(markText), 0o644))
	report.Must(r.server.Commit(ctx, i.name, parentKey, baseKey))
	return base, report.Try(r.server.Prepare(ctx, i.name, childKey, parentKey))
}

// guestPull expects a mount that tells the guest to pull.
func (r *run) guestPull(ctx context.Context) string {
	_, r.child = r.layers(ctx, instances[0])
	volume := r.volume(r.child)
	report.Want(volume.Type == volumePull, "the volume has the type %q: want %s", volume.Type, volumePull)
	return fmt.Sprintf("a snapshot is mounted by nydus-overlayfs, with a volume of the type %s", volume.Type)
}

// hostShare expects ordinary mounts of snapshots that are not layers of an image.
func (r *run) hostShare(ctx context.Context) string {
	base, child := r.layers(ctx, instances[1])
	data := r.data(instances[1]) + "/"
	report.Want(len(base) == 1 && base[0].Type == "bind" && strings.HasPrefix(base[0].Source, data),
		"the mounts of a snapshot are %v: want a bind mount below %s", base, data)
	report.Want(len(child) == 1 && child[0].Type == "overlay", "the mounts of a snapshot with a parent are %v: want an overlay", child)
	return "a snapshot is a folder below the data directory, and one on top of it an overlay"
}

// mount has nydus-overlayfs mount a snapshot of an instance.
func (r *run) mount(ctx context.Context) string {
	kind := report.Try(host.Output(command.New(ctx, "stat", "--file-system", "--format=%T", r.dir)))
	if strings.TrimSpace(kind) == "overlayfs" {
		report.Must(report.Missing(r.dir + " is on an overlay, which cannot be the top of another: set TMPDIR"))
	}
	target, child := filepath.Join(r.dir, "mnt"), r.child[0]
	report.Must(os.Mkdir(target, 0o755))
	report.Try(host.Output(command.New(ctx, filepath.Join(r.dir, overlayfs), child.Source, target, "-o", strings.Join(child.Options, ","))))
	data, err := os.ReadFile(filepath.Join(target, markName))
	report.Try(host.Output(command.New(context.WithoutCancel(ctx), "umount", "--lazy", target)))
	report.Want(err == nil, "reading the file of the parent: %w", err)
	report.Want(string(data) == markText, "the file of the parent has %q: want %q", data, markText)
	return "it drops Kata's option, and the file of the parent is visible"
}
