package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/distro"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func rootfsCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "rootfs",
		Short: "Lock the packages of root filesystems",
	}, rootfsLockCmd(a))
}

func rootfsLockCmd(a *app) *cobra.Command {
	var o buildAssetOptions
	cmd := &cobra.Command{
		Use:   "lock NAME...|--set SET|--all",
		Short: "Write the newest versions of the packages of root filesystems",
		Long: `Install the packages of root filesystems as their distribution has them today, and write
name, version and hash of each to locks/NAME-ARCH.yaml in the folder of the family.
Builds install exactly these from then on. Print the path of each lock that changed.`,
		Example: `  pipelines rootfs lock rootfs-image
  pipelines rootfs lock --all --arch arm64`,
		Args: selected(&o.selection, false),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error { return o.lock(ctx, a, ws) }),
	}
	selectionFlags(cmd.Flags(), &o.selection)
	o.engine.flags(cmd.Flags())
	return a.printing(cmd)
}

// lock writes the locks of the selected assets that have a root filesystem.
func (o buildAssetOptions) lock(ctx context.Context, a *app, ws *workspace.Workspace) error {
	names, arch, err := ws.Select(o.selection)
	if err != nil {
		return err
	}
	container := o.container(a, ws, build.Plan{}, filepath.Join(ws.Root, "build", "logs"))
	container.Nonce = rand.Text()
	changed, text := []string{}, ""
	for _, name := range names {
		asset, err := ws.Catalog.Find(name, arch)
		if err == nil && asset.Root == nil && len(o.selection.Names) > 0 {
			err = usage(fmt.Errorf("%s has no packages to lock: it declares no root", name))
		}
		if err != nil {
			return err
		}
		if asset.Root == nil {
			continue
		}
		file, wrote, err := lockRoot(ctx, ws, container, asset)
		if err != nil {
			return fmt.Errorf("locking %q: %w", name, err)
		}
		if wrote {
			changed, text = append(changed, file), text+file+"\n"
		}
	}
	return a.print(changed, text)
}

// lockRoot writes the lock of one asset, and reports whether it changed.
func lockRoot(ctx context.Context, ws *workspace.Workspace, container *build.Container, asset catalog.Asset) (file string, wrote bool, err error) {
	arch := asset.Root.Arch
	file = distro.LockFile(asset.Folder, asset.Name, arch)
	plan, err := ws.Resolve(asset, arch)
	if err != nil {
		return file, false, err
	}
	root, problem, err := ws.Resolver.Root(asset)
	if err == nil && problem != "" {
		err = errors.New(problem)
	}
	if err != nil {
		return file, false, err
	}
	plan.Recipe.Root = &root
	lock, err := container.Lock(ctx, plan)
	if err != nil {
		return file, false, err
	}
	data, err := lock.Write()
	if err != nil {
		return file, false, err
	}
	if before, err := fs.ReadFile(ws.Files(), file); err == nil && bytes.Equal(before, data) {
		return file, false, nil
	}
	path := filepath.Join(ws.Root, filepath.FromSlash(file))
	return file, true, files.Write(path, data, 0o644)
}
