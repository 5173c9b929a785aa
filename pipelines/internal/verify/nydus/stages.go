package nydus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types"
	"github.com/pelletier/go-toml/v2"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// find finds a containerd.
func (r *serving) find(ctx context.Context) (string, error) {
	var err error
	if r.installed, err = containerd.Find(ctx, r.Host); err != nil {
		return "", report.Missing(fmt.Sprintf("no containerd: %v", err))
	}
	return fmt.Sprintf("containerd %s, %s", r.installed.Version, r.installed.From), nil
}

// imagesPlugin is the table in a dumped configuration that has containerd tell
// snapshotters about images.
const imagesPlugin = "io.containerd.cri.v1.images"

// dropIns has containerd read the drop-in of each version, and keeps a configuration
// with the newest, and with a runtime for each instance.
func (r *serving) dropIns(ctx context.Context) (string, error) {
	dir := filepath.Join(r.dir, "c")
	var shipped string
	var saw []string
	for version := 2; version <= containerd.ConfigVersion; version++ {
		text, err := os.ReadFile(filepath.Join(r.dir, dropIn(version)))
		if err != nil {
			return "", err
		}
		shipped = r.relocate(string(text))
		path, err := containerd.Configure(dir, shipped, version)
		if err != nil {
			return "", err
		}
		dump, err := r.installed.Dump(ctx, path)
		if err == nil {
			err = r.checkDump(dump)
		}
		if err != nil {
			return "", fmt.Errorf("the drop-in of version %d: %w", version, err)
		}
		saw = append(saw, fmt.Sprintf("version %d: both proxy plugins, and disable_snapshot_annotations = false in %s", version, imagesPlugin))
	}
	var err error
	r.config, err = containerd.Configure(dir, shipped+containerd.Settings(dir, guestPull, hostShare), containerd.ConfigVersion)
	return strings.Join(saw, "\n"), err
}

// checkDump checks what a drop-in sets, in the configuration that containerd makes
// of it, which is of the newest version.
func (r *serving) checkDump(dump string) error {
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

// start starts both instances and containerd.
func (r *serving) start(ctx context.Context) (string, error) {
	for _, i := range instances {
		if err := r.launch(ctx, i); err != nil {
			return "", err
		}
	}
	var err error
	r.server, err = r.installed.Serve(ctx, filepath.Join(r.dir, "c"), r.config, r.Timeout)
	return fmt.Sprintf("%s and %s serve at the same time, each in its own folders", guestPull, hostShare), err
}

// plugins expects containerd to load both snapshotters, and the CRI, which a drop-in
// could break.
func (r *serving) plugins(ctx context.Context) (string, error) {
	const snapshotter = "io.containerd.snapshotter.v1"
	err := errors.Join(r.server.Plugin(ctx, snapshotter, guestPull), r.server.Plugin(ctx, snapshotter, hostShare),
		r.server.Plugin(ctx, "io.containerd.grpc.v1", "cri"))
	return fmt.Sprintf("%s ok, %s ok, cri ok", guestPull, hostShare), err
}

// The snapshots that each instance has: a committed one with a file in it, and one
// on top of it.
const (
	baseKey, parentKey, childKey = "base", "parent", "child"
	markName, markText           = "mark", "a layer of an image\n"
)

// layers makes the snapshots of an instance, and returns the mounts of the first and
// of the one on top.
func (r *serving) layers(ctx context.Context, i instance) (base, child []*types.Mount, err error) {
	if base, err = r.server.Prepare(ctx, i.name, baseKey, ""); err != nil {
		return nil, nil, err
	}
	folders, err := filepath.Glob(filepath.Join(r.data(i), "snapshots", "*", "fs"))
	if err == nil && len(folders) != 1 {
		err = fmt.Errorf("%s has %d folders of snapshots: want one", r.data(i), len(folders))
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := os.Stat(folders[0])
	// Processes of any user in a container must be able to search the folder.
	if searchable := os.FileMode(0o755); err == nil && info.Mode().Perm() != searchable {
		err = fmt.Errorf("%s has mode %v: want %v", folders[0], info.Mode().Perm(), searchable)
	}
	written := os.WriteFile(filepath.Join(folders[0], markName), []byte(markText), 0o644)
	if err := cmp.Or(err, written, r.server.Commit(ctx, i.name, parentKey, baseKey)); err != nil {
		return nil, nil, err
	}
	child, err = r.server.Prepare(ctx, i.name, childKey, parentKey)
	return base, child, err
}

// guestPull expects a mount that tells the guest to pull.
func (r *serving) guestPull(ctx context.Context) (string, error) {
	_, mounts, err := r.layers(ctx, instances[0])
	if err != nil {
		return "", err
	}
	r.child = mounts
	volume, err := r.volume(mounts)
	if err == nil && volume.Type != volumePull {
		err = fmt.Errorf("the volume has the type %q: want %s", volume.Type, volumePull)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("a snapshot is mounted by nydus-overlayfs, with a volume of the type %s", volume.Type), nil
}

// hostShare expects ordinary mounts of snapshots that are not layers of an image.
func (r *serving) hostShare(ctx context.Context) (string, error) {
	base, child, err := r.layers(ctx, instances[1])
	if err != nil {
		return "", err
	}
	if len(base) != 1 || base[0].Type != "bind" || !strings.HasPrefix(base[0].Source, r.data(instances[1])+"/") {
		return "", fmt.Errorf("the mounts of a snapshot are %v: want a bind mount below %s", base, r.data(instances[1]))
	}
	if len(child) != 1 || child[0].Type != "overlay" {
		return "", fmt.Errorf("the mounts of a snapshot with a parent are %v: want an overlay", child)
	}
	return "a snapshot is a folder below the data directory, and one on top of it an overlay", nil
}

// mount has nydus-overlayfs mount a snapshot of an instance.
func (r *serving) mount(ctx context.Context) (_ string, err error) {
	kind, err := host.Output(command.New(ctx, "stat", "--file-system", "--format=%T", r.dir))
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(kind) == "overlayfs" {
		return "", report.Missing(r.dir + " is on an overlay, which cannot be the top of another: set TMPDIR")
	}
	target := filepath.Join(r.dir, "mnt")
	if err := os.Mkdir(target, 0o755); err != nil {
		return "", err
	}
	child := r.child[0]
	if _, err := host.Output(command.New(ctx, filepath.Join(r.dir, overlayfs), child.Source, target, "-o", strings.Join(child.Options, ","))); err != nil {
		return "", fmt.Errorf("mounting: %w", err)
	}
	defer func() {
		_, unmounted := host.Output(command.New(context.WithoutCancel(ctx), "umount", "--lazy", target))
		err = errors.Join(err, unmounted)
	}()
	data, err := os.ReadFile(filepath.Join(target, markName))
	if err != nil {
		return "", fmt.Errorf("reading the file of the parent: %w", err)
	}
	if string(data) != markText {
		return "", fmt.Errorf("the file of the parent has %q: want %q", data, markText)
	}
	return "it drops Kata's option, and the file of the parent is visible", nil
}
