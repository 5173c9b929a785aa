package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func sourceCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "source",
		Short: "Look at what builds download, fetch and check it, share it",
	}, sourceListCmd(a), sourceFetchCmd(a), sourcePushCmd(a), sourceCheckCmd(a))
}

// sourceOptions are those of all verbs about sources.
type sourceOptions struct {
	registry  string
	selection workspace.Selection
	json      bool
	// given are files and clones by the names of sources.
	given map[string]string
}

// gives has a verb take sources from this machine.
func (o *sourceOptions) gives(cmd *cobra.Command) *cobra.Command {
	sourceFlag(cmd.Flags(), &o.given)
	return cmd
}

// command returns a verb that works on the sources of the named assets.
func (o *sourceOptions) command(a *app, use, short, long string, run func(context.Context, sources) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " [NAME...|--set SET|--all]", Short: short,
		Long: long + "\nWithout names: of all assets of the architecture. With names: of these and of what\nthey depend on.",
		Args: selected(&o.selection, true),
		RunE: a.with(&o.registry, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			s := sources{ws: ws, fetcher: ws.Sources}
			if err := s.choose(o.selection, o.given); err != nil {
				return err
			}
			return run(ctx, s)
		}),
	}
	cacheFlag(cmd.Flags(), a, &o.registry)
	selectionFlags(cmd.Flags(), &o.selection)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// choose collects the sources and recipes of the selected assets and of their
// dependencies.
func (s *sources) choose(selection workspace.Selection, given map[string]string) error {
	names, arch, err := s.ws.Select(selection)
	if err != nil {
		return err
	}
	if err := s.ws.CheckSources(names, arch, given); err != nil {
		return err
	}
	s.fetcher.Local = given
	closure, err := s.ws.Catalog.Closure(names, arch)
	if err != nil {
		return usage(err)
	}
	for _, asset := range closure {
		for _, path := range slices.Sorted(maps.Values(asset.Sources)) {
			if err := s.add(path, asset.Name); err != nil {
				return fmt.Errorf("%s: %w", asset.Pos, err)
			}
		}
		plan, err := s.ws.Resolve(asset, arch)
		if err != nil {
			return err
		}
		s.recipes = append(s.recipes, plan.Recipe)
	}
	slices.SortFunc(s.pinned, func(a, b pinned) int { return strings.Compare(a.path, b.path) })
	return nil
}

// sources are what some assets are built from.
type sources struct {
	ws      *workspace.Workspace
	fetcher *source.Fetcher
	pinned  []pinned
	recipes []recipe.Recipe
}

// pinned is a source of versions.yaml and the assets that have it.
type pinned struct {
	path   string
	source versions.Source
	assets []string
}

func (s *sources) add(path, asset string) error {
	for i := range s.pinned {
		if s.pinned[i].path == path {
			s.pinned[i].assets = append(s.pinned[i].assets, asset)
			return nil
		}
	}
	declared, err := s.ws.Resolver.Versions.Source(path)
	if err != nil {
		return err
	}
	s.pinned = append(s.pinned, pinned{path, declared, []string{asset}})
	return nil
}

// listedSource is one place of a source.
type listedSource struct {
	Source string   `json:"source"`
	Assets []string `json:"assets"`
	Place  string   `json:"place"`
	// Holds says what the place is.
	Holds string `json:"holds"`
	Hash  string `json:"hash"`
	// Size is in bytes, 0 where it is unknown.
	Size int64 `json:"size"`
	// Where lists the caches that have the file: "local", "registry".
	Where []string `json:"where"`
}

func sourceListCmd(a *app) *cobra.Command {
	var o sourceOptions
	return o.command(a, "list", "List the sources of assets, their places, and which caches have them",
		"List the sources, their places, and whether the local cache and the registry of\n--cache have the file.",
		func(ctx context.Context, s sources) error {
			if !s.ws.Foreign {
				warn(a.Stderr, s.ws.Warnings)
			}
			list, err := s.list(ctx)
			if err != nil {
				return err
			}
			return printList(a.Stdout, o.json, list, "SOURCE\tPLACE\tCACHED\tSIZE\tHASH\tHOLDS\tASSETS", func(l listedSource) string {
				return fmt.Sprintf("%s\t%s\t%s\t%s\t%.19s\t%s\t%s", l.Source, l.Place, dash(l.Where), size(l.Size), l.Hash, l.Holds, dash(l.Assets))
			})
		})
}

// size is that of a file, or "-" where it is not known.
func size(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return progress.Size(bytes)
}

func (s sources) list(ctx context.Context) ([]listedSource, error) {
	list := []listedSource{}
	for _, p := range s.pinned {
		for _, place := range p.source.Places {
			l := listedSource{
				Source: p.path, Assets: p.assets, Place: place.Name, Holds: place.Holds(), Hash: place.Hash(),
				Size: place.Size, Where: []string{},
			}
			local, err := s.fetcher.Has(ctx, place)
			if err != nil {
				return nil, err
			}
			if local.Cached {
				l.Where, l.Size = append(l.Where, store.InLocal), local.Size
			}
			if remote, err := s.inRegistry(ctx, place); err == nil {
				l.Where, l.Size = append(l.Where, store.InRegistry), remote
			} else if !store.IsNotFound(err) {
				return nil, err
			}
			list = append(list, l)
		}
	}
	return list, nil
}

// inRegistry returns the size of what the registry has of a place.
func (s sources) inRegistry(ctx context.Context, place versions.Place) (int64, error) {
	if s.ws.Store.Registry == nil || !place.Cacheable() {
		return 0, store.ErrNotFound
	}
	return s.ws.Store.Registry.FindSource(ctx, place.Hash())
}

// fetchedSource is a source that is on this machine now.
type fetchedSource struct {
	Source string        `json:"source"`
	Place  string        `json:"place"`
	From   source.Origin `json:"from"`
	Path   string        `json:"path"`
	SHA256 string        `json:"sha256"`
	Size   int64         `json:"size"`
}

func sourceFetchCmd(a *app) *cobra.Command {
	var o sourceOptions
	return o.gives(o.command(a, "fetch", "Fetch sources into the local cache",
		"Fetch what the local cache lacks: from the registry of --cache, or from the first\nplace that answers. Prints where each file is.",
		func(ctx context.Context, s sources) error {
			list := []fetchedSource{}
			for _, p := range s.pinned {
				fetched, err := s.fetch(ctx, p)
				if err != nil {
					return err
				}
				list = append(list, fetchedSource{p.path, fetched.Place, fetched.From, fetched.Path, fetched.SHA256, fetched.Size})
			}
			if o.json {
				return printJSON(a.Stdout, list)
			}
			for _, l := range list {
				fmt.Fprintf(a.Stdout, "%s %s\n", l.Source, l.Path)
			}
			return nil
		}))
}

// fetch fetches one source.
func (s sources) fetch(ctx context.Context, p pinned) (source.Fetched, error) {
	stage := s.ws.Report.Stage(p.path, "source")
	fetched, err := s.fetcher.Fetch(ctx, p.source, stage.Bytes, func(text string) { s.ws.Report.Note(p.path, text) })
	stage.End(err, fmt.Sprintf("%s, from the %s, %s", fetched.Place, fetched.From, progress.Size(fetched.Size)))
	if err != nil {
		return source.Fetched{}, fmt.Errorf("fetching source %q: %w", p.path, err)
	}
	return fetched, nil
}
