package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func cacheCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "cache",
		Short: "List, fill and check the caches",
		Example: `  pipelines cache ls --cache ghcr.io/example/kata
  pipelines cache pull kernel-debug --cache ghcr.io/example/kata
  pipelines cache verify`,
	}, cacheLsCmd(a), cachePullCmd(a), cachePushCmd(a), cacheVerifyCmd(a))
}

// cached is an artifact of one of the caches.
type cached struct {
	Where  string `json:"where"`
	Asset  string `json:"asset"`
	Arch   string `json:"arch"`
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func cacheLsCmd(a *app) *cobra.Command {
	var registry string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the artifacts in the local cache, and in the registry of --cache",
		Example: `  pipelines cache ls
  pipelines cache ls --cache ghcr.io/example/kata --json`,
		Args: arguments(cobra.NoArgs),
		RunE: a.with(&registry, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			list, err := listCaches(ctx, ws)
			if err != nil {
				return err
			}
			return printList(a.Stdout, asJSON, list, "WHERE\tASSET\tARCH\tKEY\tSIZE\tSHA256", func(c cached) string {
				return fmt.Sprintf("%s\t%s\t%s\t%.12s\t%s\t%.12s", c.Where, c.Asset, c.Arch, c.Key, progress.Size(c.Size), c.Digest[len("sha256:"):])
			})
		}),
	}
	cacheFlag(cmd.Flags(), a, &registry)
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func listCaches(ctx context.Context, ws *workspace.Workspace) ([]cached, error) {
	artifacts, err := ws.Store.Local.List(ctx)
	if err != nil {
		return nil, err
	}
	list := entries("local", artifacts)
	if ws.Store.Registry == nil {
		return list, nil
	}
	for _, name := range ws.Catalog.Names() {
		artifacts, err := ws.Store.Registry.List(ctx, name)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			ws.Report.Note("registry", fmt.Sprintf("%v; the list goes on without it", err))
			break
		}
		list = append(list, entries("registry", artifacts)...)
	}
	return list, nil
}

func entries(where string, artifacts []store.Artifact) []cached {
	list := []cached{}
	for _, a := range artifacts {
		list = append(list, cached{where, a.Asset, a.Arch, a.Key, a.Digest, a.Size})
	}
	return list
}

// keyed is what the verbs that take names of assets share.
type keyed struct {
	registry   string
	selection  workspace.Selection
	allowDirty bool
}

func (o *keyed) flags(a *app, cmd *cobra.Command) *cobra.Command {
	cacheFlag(cmd.Flags(), a, &o.registry)
	selectionFlags(cmd.Flags(), &o.selection)
	return cmd
}

// choose selects the assets. There must be a registry.
func (o *keyed) choose(ws *workspace.Workspace) ([]string, catalog.Arch, error) {
	if ws.Store.Registry == nil {
		return nil, "", workspace.ErrNoRegistry
	}
	return ws.Select(o.selection)
}

func cachePullCmd(a *app) *cobra.Command {
	var o keyed
	return o.flags(a, &cobra.Command{
		Use:   "pull NAME...|--set SET|--all",
		Short: "Pull the artifacts of the current keys from the registry into the local cache",
		Long: `Pull the artifacts of the current keys of the assets, and of their dependencies,
from the registry of --cache into the local cache. Fails if the registry lacks one.`,
		Example: `  pipelines cache pull kernel-debug --cache ghcr.io/example/kata
  pipelines cache pull --all --arch arm64 --cache ghcr.io/example/kata`,
		Args: selected(&o.selection, false),
		RunE: a.with(&o.registry, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			names, arch, err := o.choose(ws)
			if err != nil {
				return err
			}
			return each(ws, names, arch, func(ref store.Ref) (store.Artifact, error) {
				artifact, err := ws.Store.Local.Get(ctx, ref)
				if store.IsNotFound(err) {
					artifact, err = ws.Store.Registry.Pull(ctx, ref, ws.Store.Local)
				}
				if err == nil {
					fmt.Fprintf(a.Stdout, "%s %s %s\n", artifact.Asset, artifact.Key, artifact.Digest)
				}
				return artifact, err
			})
		}),
	})
}

func cachePushCmd(a *app) *cobra.Command {
	var o keyed
	cmd := o.flags(a, &cobra.Command{
		Use:   "push NAME...|--set SET|--all",
		Short: "Push the artifacts of the current keys from the local cache to the registry",
		Long: `Push the artifacts of the current keys of the assets, and of their dependencies,
from the local cache to the registry of --cache: those that it lacks, their proofs,
their builders, and the moving tags. What can be pushed is, then the verb fails with
the list of what could not be.`,
		Example: `  pipelines cache push kernel-debug --cache ghcr.io/example/kata
  pipelines cache push --set kata-static --without qemu --cache ghcr.io/example/kata`,
		Args: selected(&o.selection, false),
		RunE: a.with(&o.registry, func(ctx context.Context, ws *workspace.Workspace, _ []string) error { return o.push(ctx, a, ws) }),
	})
	allowDirtyFlag(cmd.Flags(), &o.allowDirty)
	return cmd
}

// push pushes the selected artifacts, and then the builders that the local cache has.
func (o *keyed) push(ctx context.Context, a *app, ws *workspace.Workspace) error {
	names, arch, err := o.choose(ws)
	if err != nil {
		return err
	}
	pushed := resolved(ws, names, arch)
	moving, err := ws.Moving(ctx, pushed, arch, o.allowDirty)
	if err != nil {
		return err
	}
	err = each(ws, names, arch, func(ref store.Ref) (store.Artifact, error) {
		artifact, err := ws.Store.Local.Get(ctx, ref)
		if store.IsNotFound(err) && !slices.Contains(names, ref.Asset) {
			if there, err := ws.Store.Get(ctx, ref); err == nil {
				return there, nil // A dependency that the registry has is not pushed.
			}
		}
		if store.IsNotFound(err) {
			return artifact, fmt.Errorf("%w in the local cache under its key %.12s: run build-asset %s, or cache pull %s, first", store.ErrNotFound, ref.Key, ref.Asset, ref.Asset)
		}
		if err == nil {
			err = ws.Store.Publish(ctx, artifact, moving.Tags(artifact.Arch))
		}
		if err == nil {
			fmt.Fprintf(a.Stdout, "%s %s %s\n", artifact.Asset, artifact.Key, artifact.Digest)
		}
		return artifact, err
	})
	if len(pushed) == 0 || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, pushBuilders(ctx, ws, pushed, arch))
}

// resolved returns the assets whose inputs can be read. For the others each fails.
func resolved(ws *workspace.Workspace, names []string, arch catalog.Arch) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := ws.Inputs([]string{name}, arch)
		return err != nil
	})
}

// pushBuilders pushes the builders of assets that the local cache has.
func pushBuilders(ctx context.Context, ws *workspace.Workspace, names []string, arch catalog.Arch) error {
	set, err := ws.Supply(workspace.Selection{Names: names, Arch: string(arch)}, nil)
	if err != nil {
		return err
	}
	_, _, err = set.PushBuilders(ctx)
	return err
}

func cacheVerifyCmd(a *app) *cobra.Command {
	var cache string
	var registry bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hash everything in the local cache again, or in the registry of --cache",
		Example: `  pipelines cache verify
  pipelines cache verify --registry --cache ghcr.io/example/kata`,
		Args: arguments(cobra.NoArgs),
		RunE: a.with(&cache, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			if !registry {
				damage, err := ws.Store.Local.Verify(ctx)
				return verdict(a.Stdout, "the local cache", damage, err)
			}
			if ws.Store.Registry == nil {
				return workspace.ErrNoRegistry
			}
			damage, err := ws.Store.Registry.VerifyAll(ctx, ws.Catalog.Names())
			return verdict(a.Stdout, "the registry", damage, err)
		}),
	}
	cacheFlag(cmd.Flags(), a, &cache)
	cmd.Flags().BoolVar(&registry, "registry", false, "verify the artifacts, sources and builders in the registry")
	return cmd
}

// verdict says what was found, and fails where that is anything.
func verdict(w io.Writer, where string, damage []string, err error) error {
	for _, line := range damage {
		fmt.Fprintln(w, progress.PrintableLines(line))
	}
	if err != nil {
		return err
	}
	if len(damage) > 0 {
		return fmt.Errorf("%s is damaged (%d found): damaged content is never used, and the next build replaces it", where, len(damage))
	}
	_, err = fmt.Fprintf(w, "%s is whole\n", where)
	return err
}

// each calls do for the current key of each named asset and of what it depends
// on, dependencies first: a key needs the artifacts of those. It does what can be
// done, and then fails with the list of what could not.
func each(ws *workspace.Workspace, names []string, arch catalog.Arch, do func(store.Ref) (store.Artifact, error)) error {
	closure, err := ws.Catalog.Closure(names, arch)
	if err != nil {
		return usage(err)
	}
	digests := map[string]recipe.Digests{}
	var missing []error
	for _, asset := range closure {
		if lacking := slices.IndexFunc(asset.Dependencies, func(name string) bool { _, found := digests[name]; return !found }); lacking >= 0 {
			missing = append(missing, fmt.Errorf("%s: its key is pending on %s", asset.Name, asset.Dependencies[lacking]))
			continue
		}
		plan, err := ws.Resolver.Resolve(asset, arch, digests)
		if err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", asset.Name, err))
			continue
		}
		artifact, err := do(store.Ref{Asset: asset.Name, Arch: string(arch), Key: plan.Key})
		if err == nil {
			digests[asset.Name] = build.Contents(artifact)
			continue
		}
		err = fmt.Errorf("%s: %w", asset.Name, err)
		missing = append(missing, err)
		if !store.IsNotFound(err) {
			break // The registry fails, and would for the others.
		}
	}
	return errors.Join(missing...)
}
