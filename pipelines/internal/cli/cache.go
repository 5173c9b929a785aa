package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

func cacheCmd(process Process, tree *treeOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look into the caches, fill and check them",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage(fmt.Errorf("say what to do: %s ls|pull|push|verify", cmd.CommandPath()))
		},
	}
	cmd.AddCommand(cacheLsCmd(process, tree), cachePullCmd(process, tree), cachePushCmd(process, tree), cacheVerifyCmd(process, tree))
	return cmd
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

func cacheLsCmd(process Process, tree *treeOptions) *cobra.Command {
	var o cacheOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the artifacts in the local cache, and in the registry of --cache",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withCaches(process, tree, o, func(c caches) error {
				list, err := c.list(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(process.Stdout, list)
				}
				table := tabwriter.NewWriter(process.Stdout, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "WHERE\tASSET\tARCH\tKEY\tSIZE\tSHA256")
				for _, a := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%.12s\t%s\t%.12s\n", a.Where, a.Asset, a.Arch, a.Key, progress.Size(a.Size), a.Digest[len("sha256:"):])
				}
				return table.Flush()
			})
		},
	}
	o.flags(cmd.Flags(), process)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return cmd
}

// caches are both tiers of a loaded tree.
type caches struct {
	tree   *tree
	tiered *store.Tiered
	report *progress.Reporter
	// sources is what knows the cache of sources.
	sources *source.Fetcher
}

func withCaches(process Process, options *treeOptions, o cacheOptions, run func(caches) error) error {
	tree, err := options.load(process.Stderr)
	if err != nil {
		return err
	}
	dir, err := options.cacheDir()
	if err != nil {
		return err
	}
	report := process.reporter()
	defer report.Close()
	tiered, err := o.tiered(process, dir, report)
	if err != nil {
		return err
	}
	return run(caches{tree, tiered, report, newFetcher(dir, tiered.Registry)})
}

func (c caches) list(ctx context.Context) ([]cached, error) {
	artifacts, err := c.tiered.Local.List(ctx)
	if err != nil {
		return nil, err
	}
	list := entries("local", artifacts)
	if c.tiered.Registry == nil {
		return list, nil
	}
	for _, name := range c.tree.catalog.Names() {
		artifacts, err := c.tiered.Registry.List(ctx, name)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			c.report.Note("registry", fmt.Sprintf("%v; the list goes on without it", err))
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
	cacheOptions
	arch string
	all  bool
}

func (o *keyed) command(process Process, tree *treeOptions, use, short, long string, run func(context.Context, caches, []string, catalog.Arch) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " NAME...|--all", Short: short, Long: long,
		RunE: func(cmd *cobra.Command, names []string) error {
			return withCaches(process, tree, o.cacheOptions, func(c caches) error {
				if c.tiered.Registry == nil {
					return errNoRegistry
				}
				names, arch, err := c.tree.choose(names, o.all, o.arch)
				if err != nil {
					return err
				}
				return run(cmd.Context(), c, names, arch)
			})
		},
	}
	o.flags(cmd.Flags(), process)
	archFlag(cmd.Flags(), &o.arch)
	cmd.Flags().BoolVar(&o.all, "all", false, "all assets of the architecture")
	return cmd
}

func cachePullCmd(process Process, tree *treeOptions) *cobra.Command {
	var o keyed
	return o.command(process, tree, "pull", "Bring artifacts of the current keys from the registry into the local cache",
		"Bring the artifacts of the current keys of the assets, and of what they depend on,\nfrom the registry of --cache into the local cache. Fails where the registry lacks one.",
		func(ctx context.Context, c caches, names []string, arch catalog.Arch) error {
			return c.each(names, arch, func(ref store.Ref) (store.Artifact, error) {
				artifact, err := c.tiered.Local.Get(ctx, ref)
				if store.IsNotFound(err) {
					artifact, err = c.tiered.Registry.Pull(ctx, ref, c.tiered.Local)
				}
				if err == nil {
					fmt.Fprintf(process.Stdout, "%s %s %s\n", artifact.Asset, artifact.Key, artifact.Digest)
				}
				return artifact, err
			})
		})
}

func cachePushCmd(process Process, tree *treeOptions) *cobra.Command {
	var o keyed
	var p pushOptions
	cmd := o.command(process, tree, "push", "Push artifacts of the current keys from the local cache to the registry",
		"Push the artifacts of the current keys of the assets, and of what they depend on,\nfrom the local cache to the registry of --cache: what it lacks, and the moving tags.",
		func(ctx context.Context, c caches, names []string, arch catalog.Arch) error {
			p.push = true
			publish, err := p.publisher(ctx, process, c.tree, names, arch, c.tiered)
			if err != nil {
				return err
			}
			return c.each(names, arch, func(ref store.Ref) (store.Artifact, error) {
				artifact, err := c.tiered.Local.Get(ctx, ref)
				if store.IsNotFound(err) {
					return artifact, fmt.Errorf("%w in the local cache under its key %.12s: run build-asset %s, or cache pull %s, first", store.ErrNotFound, ref.Key, ref.Asset, ref.Asset)
				}
				if err == nil {
					err = publish(ctx, artifact)
				}
				if err == nil {
					fmt.Fprintf(process.Stdout, "%s %s %s\n", artifact.Asset, artifact.Key, artifact.Digest)
				}
				return artifact, err
			})
		})
	cmd.Flags().BoolVar(&p.allowDirty, "allow-dirty", false, allowDirtyUsage)
	return cmd
}

func cacheVerifyCmd(process Process, tree *treeOptions) *cobra.Command {
	var o cacheOptions
	var registry bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hash everything in the local cache again, or in the registry of --cache",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withCaches(process, tree, o, func(c caches) error {
				if registry {
					return c.verifyRegistry(cmd.Context(), process.Stdout)
				}
				damage, err := c.tiered.Local.Verify(cmd.Context())
				return verdict(process.Stdout, "the local cache", damage, err)
			})
		},
	}
	o.flags(cmd.Flags(), process)
	cmd.Flags().BoolVar(&registry, "registry", false, "verify the artifacts, sources and builders in the registry")
	return cmd
}

func (c caches) verifyRegistry(ctx context.Context, out io.Writer) error {
	if c.tiered.Registry == nil {
		return errNoRegistry
	}
	damage, err := c.damaged(ctx)
	return verdict(out, "the registry", damage, err)
}

// damaged verifies what the registry has, and returns what of it is damaged.
// The error is of a registry that does not let itself be read.
func (c caches) damaged(ctx context.Context) (damage []string, err error) {
	for _, name := range c.tree.catalog.Names() {
		refs, err := c.tiered.Registry.Refs(ctx, name)
		if err != nil {
			return damage, err
		}
		for _, ref := range refs {
			switch err := c.tiered.Registry.Verify(ctx, ref); {
			case store.IsDamage(err):
				damage = append(damage, err.Error())
			case store.IsNotFound(err): // It went away since it was listed.
			case err != nil:
				return damage, fmt.Errorf("verifying %s of %q: %w", ref.Tag(), name, err)
			}
		}
	}
	shared, err := c.tiered.Registry.VerifyShared(ctx)
	return append(damage, shared...), err
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
		return fmt.Errorf("%s is damaged (%d found): what is damaged is never used, and the next build makes it anew", where, len(damage))
	}
	_, err = fmt.Fprintf(w, "%s is whole\n", where)
	return err
}

// each calls do for the current key of each named asset and of what it depends
// on, dependencies first: a key needs the artifacts of those.
func (c caches) each(names []string, arch catalog.Arch, do func(store.Ref) (store.Artifact, error)) error {
	closure, err := c.tree.catalog.Closure(names, arch)
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
		plan, err := c.tree.resolver.Resolve(asset, arch, digests)
		if err != nil {
			return err
		}
		artifact, err := do(store.Ref{Asset: asset.Name, Arch: string(arch), Key: plan.Key})
		if err == nil {
			digests[asset.Name] = build.Contents(artifact)
			continue
		}
		err = fmt.Errorf("%s: %w", asset.Name, err)
		if !store.IsNotFound(err) {
			return err
		}
		missing = append(missing, err)
	}
	return errors.Join(missing...)
}
