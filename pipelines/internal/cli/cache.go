package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/supply"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func cacheCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "cache",
		Short: "List, fill, check, measure and clean the caches",
		Example: `  pipelines cache ls --cache ghcr.io/example/kata
  pipelines cache pull kernel-debug --cache ghcr.io/example/kata
  pipelines cache verify
  pipelines cache du
  pipelines cache gc --dry-run`,
	}, cacheLsCmd(a), cachePullCmd(a), cachePushCmd(a), cacheVerifyCmd(a), cacheDuCmd(a), cacheGCCmd(a))
}

type cached struct {
	Where  string `json:"where"`
	Asset  string `json:"asset"`
	Arch   string `json:"arch"`
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func cacheLsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the artifacts in the local cache, and in the registry of --cache",
		Example: `  pipelines cache ls
  pipelines cache ls --cache ghcr.io/example/kata --json`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			list, err := listCaches(ctx, ws)
			if err != nil {
				return err
			}
			return printList(a, list, "WHERE\tASSET\tARCH\tKEY\tSIZE\tSHA256", func(c cached) string {
				return fmt.Sprintf("%s\t%s\t%s\t%.12s\t%s\t%.12s", c.Where, c.Asset, c.Arch, c.Key, progress.Size(c.Size), c.Digest[len("sha256:"):])
			})
		}),
	}
	a.cacheFlag(cmd.Flags())
	return a.printing(cmd)
}

func listCaches(ctx context.Context, ws *workspace.Workspace) ([]cached, error) {
	var list []cached
	add := func(where string, artifacts []store.Artifact) {
		for _, a := range artifacts {
			list = append(list, cached{where, a.Asset, a.Arch, a.Key, a.Digest, a.Size})
		}
	}
	artifacts, err := ws.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	add("local", artifacts)
	if ws.Store.Registry == nil {
		return list, nil
	}
	for _, name := range ws.Catalog.Names() {
		artifacts, err := ws.Store.Registry.List(ctx, name)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			ws.Report.Note("registry", fmt.Sprintf("%v: continuing without it", err))
			break
		}
		add("registry", artifacts)
	}
	return list, nil
}

type keyed struct {
	selection  workspace.Selection
	allowDirty bool
}

// command completes a verb that pulls or pushes the selected artifacts. It requires a
// registry.
func (o *keyed) command(
	a *app, cmd *cobra.Command, run func(context.Context, *workspace.Workspace, []string, catalog.Arch) error,
) *cobra.Command {
	cmd.Args = selected(&o.selection, false)
	cmd.RunE = a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
		if ws.Store.Registry == nil {
			return workspace.ErrNoRegistry
		}
		names, arch, err := ws.Select(o.selection)
		if err != nil {
			return err
		}
		return run(ctx, ws, names, arch)
	})
	a.cacheFlag(cmd.Flags())
	selectionFlags(cmd.Flags(), &o.selection)
	return cmd
}

func (a *app) moved(artifact store.Artifact) {
	fmt.Fprintf(a.Stdout, "%s %s %s\n", artifact.Asset, artifact.Key, artifact.Digest)
}

func cachePullCmd(a *app) *cobra.Command {
	var o keyed
	return o.command(a, &cobra.Command{
		Use:   "pull NAME...|--set SET|--all",
		Short: "Pull the artifacts of the current keys from the registry into the local cache",
		Long: `Pull the artifacts of the current keys of the assets, and of their dependencies,
from the registry of --cache into the local cache. Fails if the registry lacks one.`,
		Example: `  pipelines cache pull kernel-debug --cache ghcr.io/example/kata
  pipelines cache pull --all --arch arm64 --cache ghcr.io/example/kata`,
	}, func(ctx context.Context, ws *workspace.Workspace, names []string, arch catalog.Arch) error {
		return ws.Walk(names, arch, func(ref store.Ref) (store.Artifact, error) {
			artifact, err := ws.Store.Local.Get(ctx, ref)
			if store.IsNotFound(err) {
				artifact, err = ws.Store.Registry.Pull(ctx, ref, ws.Store.Local)
			}
			if err == nil {
				a.moved(artifact)
			}
			return artifact, err
		})
	})
}

func cachePushCmd(a *app) *cobra.Command {
	var o keyed
	cmd := o.command(a, &cobra.Command{
		Use:   "push NAME...|--set SET|--all",
		Short: "Push the artifacts of the current keys from the local cache to the registry",
		Long: `Push the artifacts of the current keys of the assets, and of their dependencies,
from the local cache to the registry of --cache: those that it lacks, their proofs,
the documents that ` + "`pipelines sbom`" + ` prints, their builders, and the moving tags. Pushes everything that it can, then fails with a
list of the rest.`,
		Example: `  pipelines cache push kernel-debug --cache ghcr.io/example/kata
  pipelines cache push --set kata-static --without qemu --cache ghcr.io/example/kata`,
	}, func(ctx context.Context, ws *workspace.Workspace, names []string, arch catalog.Arch) error {
		return o.push(ctx, a, ws, names, arch)
	})
	allowDirtyFlag(cmd.Flags(), &o.allowDirty)
	return cmd
}

// push pushes artifacts, and then those of their builders that the local cache has.
func (o *keyed) push(ctx context.Context, a *app, ws *workspace.Workspace, names []string, arch catalog.Arch) error {
	// Walk reports the assets whose inputs cannot be read.
	readable := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := ws.Inputs([]string{name}, arch)
		return err != nil
	})
	moving, err := ws.Moving(ctx, readable, arch, o.allowDirty)
	if err != nil {
		return err
	}
	err = ws.Walk(names, arch, func(ref store.Ref) (store.Artifact, error) {
		artifact, err := ws.Store.Local.Get(ctx, ref)
		if store.IsNotFound(err) && !slices.Contains(names, ref.Asset) {
			if there, err := ws.Store.Get(ctx, ref); err == nil {
				return there, nil // A dependency that the registry has is not pushed.
			}
		}
		if store.IsNotFound(err) {
			return artifact, fmt.Errorf("%w in the local cache under its key %.12s: run build-asset %s, or cache pull %s, first",
				store.ErrNotFound, ref.Key, ref.Asset, ref.Asset)
		}
		if err == nil {
			err = ws.Contents().Publish(ctx, artifact, moving.Tags(artifact.Arch))
		}
		if err == nil {
			a.moved(artifact)
		}
		return artifact, err
	})
	if len(readable) == 0 || ctx.Err() != nil {
		return err
	}
	set, supplyErr := supply.New(ws, workspace.Selection{Names: readable, Arch: string(arch)}, nil)
	if supplyErr != nil {
		return errors.Join(err, supplyErr)
	}
	_, _, supplyErr = set.PushBuilders(ctx)
	return errors.Join(err, supplyErr)
}

func cacheVerifyCmd(a *app) *cobra.Command {
	var registry bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hash everything in the local cache again, or in the registry of --cache, and vet the tarballs",
		Example: `  pipelines cache verify
  pipelines cache verify --registry --cache ghcr.io/example/kata`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			if !registry {
				damage, err := ws.Store.Verify(ctx)
				return verdict(a.Stdout, "the local cache", "", damage, err)
			}
			if ws.Store.Registry == nil {
				return workspace.ErrNoRegistry
			}
			verified, damage, err := ws.Store.Registry.Verify(ctx, ws.Catalog.Names(), ws.Store.Local)
			if err == nil && verified == 0 {
				_, err = fmt.Fprintf(a.Stdout, "%s has no entries to verify\n", ws.Store.Registry)
				return err
			}
			return verdict(a.Stdout, "the registry", fmt.Sprintf(" (%d verified)", verified), damage, err)
		}),
	}
	a.cacheFlag(cmd.Flags())
	cmd.Flags().BoolVar(&registry, "registry", false, "verify the artifacts, sources and builders in the registry")
	return cmd
}

// verdict prints the damage, and fails if there is any.
func verdict(w io.Writer, where, verified string, damage []string, err error) error {
	for _, line := range damage {
		fmt.Fprintln(w, progress.PrintableLines(line))
	}
	if err != nil {
		return err
	}
	if len(damage) > 0 {
		return fmt.Errorf("%s is damaged (%d found): damaged content is never used, and the next build replaces it", where, len(damage))
	}
	_, err = fmt.Fprintf(w, "%s is whole%s\n", where, verified)
	return err
}
