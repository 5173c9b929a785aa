package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/supply"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func sourceCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "source",
		Short: "List, fetch, check, push and bundle the sources of builds",
	}, sourceListCmd(a), sourceFetchCmd(a), sourcePushCmd(a), sourceCheckCmd(a), sourceBundleCmd(a))
}

// sourceOptions are those of the verbs about sources.
type sourceOptions struct {
	selection workspace.Selection
	// given are files and clones by the names of sources.
	given map[string]string
}

// command completes a verb that works on the sources of the selected assets.
func (o *sourceOptions) command(
	a *app, cmd *cobra.Command, run func(context.Context, *workspace.Workspace, *supply.Set) error,
) *cobra.Command {
	cmd.Use += " [NAME...|--set SET|--all]"
	cmd.Long += `
Without names: of all assets of the architecture. With names: of these and of the
assets that they depend on.`
	cmd.Args = selected(&o.selection, true)
	cmd.RunE = a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
		set, err := supply.New(ws, o.selection, o.given)
		if err != nil {
			return err
		}
		return run(ctx, ws, set)
	})
	a.cacheFlag(cmd.Flags())
	selectionFlags(cmd.Flags(), &o.selection)
	return a.printing(cmd)
}

func sourceListCmd(a *app) *cobra.Command {
	var o sourceOptions
	return o.command(a, &cobra.Command{
		Use: "list", Short: "List sources, their places, and which caches have them",
		Long: `List the sources, their places, and whether the local cache and the registry of
--cache have the file. "unchecked" marks a hash that was compared with nothing that upstream publishes.`,
		Example: `  pipelines source list kernel-debug
  pipelines source list --all --cache ghcr.io/example/cache --json`,
	}, func(ctx context.Context, _ *workspace.Workspace, set *supply.Set) error {
		list, err := set.List(ctx)
		if err != nil {
			return err
		}
		return printList(a, list, "SOURCE\tPLACE\tCACHED\tSIZE\tHASH\tHOLDS\tASSETS", func(l supply.Listed) string {
			hash := fmt.Sprintf("%.19s", l.Hash)
			if l.Unchecked {
				hash += " (unchecked)"
			}
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s",
				l.Source, l.Place, dash(l.Where...), sizeOrDash(l.Size), hash, l.Holds, dash(l.Assets...))
		})
	})
}

func sourceFetchCmd(a *app) *cobra.Command {
	var o sourceOptions
	cmd := o.command(a, &cobra.Command{
		Use: "fetch", Short: "Fetch sources into the local cache",
		Long: `Fetch the sources that the local cache lacks: from the registry of --cache, or from
the first place that answers. Print where each file is. If a source cannot be
fetched, fetch the others, then fail.`,
		Example: `  pipelines source fetch --all
  pipelines source fetch kernel-debug --source linux=linux-6.18.15.tar.xz`,
	}, func(ctx context.Context, _ *workspace.Workspace, set *supply.Set) error {
		list, err := set.Fetch(ctx)
		text := ""
		for _, l := range list {
			text += l.Name + " " + l.Path + "\n"
		}
		return errors.Join(err, a.print(list, text))
	})
	sourceFlag(cmd.Flags(), &o.given)
	return cmd
}

func sourcePushCmd(a *app) *cobra.Command {
	var o sourceOptions
	cmd := o.command(a, &cobra.Command{
		Use: "push", Short: "Push sources and builders to the registry, so that builds need nothing else",
		Long: `Push to the registry of --cache the sources that it lacks, fetching them where needed,
and the builders in the local cache: with both, other machines build with --offline.`,
		Example: `  pipelines source push --all --cache ghcr.io/example/cache
  pipelines source push kernel-debug --arch arm64 --cache ghcr.io/example/cache`,
	}, func(ctx context.Context, ws *workspace.Workspace, set *supply.Set) error {
		if ws.Store.Registry == nil {
			return workspace.ErrNoRegistry
		}
		list, err := set.Push(ctx)
		text := ""
		for _, l := range list {
			text += fmt.Sprintf("%s %s\n", l.Source, l.State)
		}
		return errors.Join(err, a.print(list, text))
	})
	signFlag(cmd.Flags())
	return cmd
}

func sourceCheckCmd(a *app) *cobra.Command {
	var o sourceOptions
	var upstream bool
	cmd := o.command(a, &cobra.Command{
		Use: "check", Short: "Check the sources in the cache, and whether their places still have them",
		Long: `Hash every file of the sources that is in the local cache. With --upstream, also ask
each declared place whether it has the file today, without downloading it: by a HEAD
request, a fresh Debian index, git, the Go module proxy, or the index of crates; if all
assets are selected, also the places of pins that no asset uses. Fail if bytes or a size
differ from the declaration, or if no place of a source answers; one place that does
not answer is only reported.`,
		Example: `  pipelines source check --all
  pipelines source check kernel-debug --upstream`,
	}, func(ctx context.Context, _ *workspace.Workspace, set *supply.Set) error {
		list, err := set.Check(ctx, upstream)
		if list == nil && err != nil {
			return err
		}
		heading := "SOURCE\tPLACE\tHASH\tLOCAL"
		if upstream {
			heading += "\tUPSTREAM"
		}
		return errors.Join(printList(a, list, heading, func(c supply.Checked) string {
			row := fmt.Sprintf("%s\t%s\t%.19s\t%s", c.Source, c.Place, c.Hash, c.Local)
			if upstream {
				row += "\t" + c.Upstream
			}
			return row
		}), err)
	})
	cmd.Flags().BoolVar(&upstream, "upstream", false, "also ask every declared place for the file")
	return cmd
}

func sourceBundleCmd(a *app) *cobra.Command {
	var o sourceOptions
	var output string
	cmd := o.command(a, &cobra.Command{
		Use: "bundle", Short: "Write the sources of builds into one archive, with their licenses",
		Long: `Write the sources of assets that are built here, with their Go modules and crates,
into one archive, with a list of their licenses and the texts. Unpacked into the folder sources of an
empty cache, it builds the assets offline. With --set or --all, add the copyleft sources
that imported programs contain, such as libseccomp.`,
		Example: `  pipelines source bundle virtiofsd -o vendor.tar.gz
  pipelines source bundle --set kata-static`,
	}, func(ctx context.Context, ws *workspace.Workspace, _ *supply.Set) error {
		names, arch, err := ws.Select(o.selection)
		if err != nil {
			return err
		}
		bundle, err := supply.NewBundle(ws, map[catalog.Arch][]string{arch: names}, o.selection.Set != "" || o.selection.All)
		if err != nil {
			return err
		}
		if output == "" {
			output = filepath.Join(ws.Root, "build", "vendor.tar.gz")
		}
		if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
			return err
		}
		if err := bundle.WriteFile(ctx, output); err != nil {
			return err
		}
		return a.print(map[string]string{"file": output}, workspace.Relative(output)+"\n")
	})
	cmd.Flags().StringVarP(&output, "output", "o", "", "file for the archive (default: build/vendor.tar.gz in the root of the repository)")
	return cmd
}
