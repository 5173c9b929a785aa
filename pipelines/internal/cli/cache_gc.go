package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/collect"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type gcOptions struct {
	registry, engine, dryRun bool
	keep                     []string
	days, newest             int
	maxSize                  budget
}

func cacheGCCmd(a *app) *cobra.Command {
	var o gcOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what is not needed any more from the local cache, from the registry of --cache, or from the engine",
		Long: `Remove what neither the working tree nor the trees of --keep need, what was not used
in the last days, and what killed processes left; then what was used longest ago, until
the rest fits into --max-size. What is in use stays. In a registry, the last use of an
entry is the newest commit that pushed it, and everything that refers to an entry goes
with it; the registry collects the blobs itself. --engine removes the whole build cache
of the engine, except what builds use; compilers' caches are in it.`,
		Example: `  pipelines cache gc --dry-run
  pipelines cache gc --max-size 20GB
  pipelines cache gc --registry --cache ghcr.io/example/kata --keep main,stable-3.28 --dry-run
  pipelines cache gc --engine`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error { return o.run(ctx, a, ws) }),
	}
	a.cacheFlag(cmd.Flags())
	flags := cmd.Flags()
	flags.BoolVar(&o.registry, "registry", false, "collect the registry instead of the local cache")
	flags.BoolVar(&o.engine, "engine", false, "remove the build cache of the engine instead")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only print what would stay, and why, and what would go")
	flags.StringSliceVar(&o.keep, "keep", nil, "revisions whose trees need entries (default: HEAD, the branches, and the newest release)")
	flags.IntVar(&o.days, "keep-days", 30, "keep what was used in the last days; 0 removes also what has no known age")
	flags.IntVar(&o.newest, "keep-newest", 3, "keep the newest artifacts of each asset, and the newest releases of a registry")
	a.maxSizeFlag(flags, &o.maxSize)
	return a.printing(cmd)
}

func (o gcOptions) run(ctx context.Context, a *app, ws *workspace.Workspace) error {
	switch {
	case o.registry && o.engine:
		return usage(errors.New("give --registry or --engine, not both"))
	case o.days < 0 || o.newest < 0:
		return usage(errors.New("--keep-days and --keep-newest: want 0 or more"))
	case o.engine && o.dryRun:
		return usage(errors.New("--engine removes everything that builds do not use: there is no --dry-run"))
	case o.engine:
		return pruneEngine(ctx, a, ws)
	case !o.registry:
		return o.local(ctx, a, ws)
	case ws.Store.Registry == nil:
		return workspace.ErrNoRegistry
	}
	return o.remote(ctx, a, ws)
}

func (o gcOptions) decide(ctx context.Context, ws *workspace.Workspace, things []collect.Thing, items []store.Item) error {
	wanted, err := ws.Wanted(ctx, o.keep, items)
	if err == nil {
		collect.Decide(things, collect.Rules{Wanted: wanted, Now: time.Now(), Days: o.days, Newest: o.newest})
	}
	return err
}

func (o gcOptions) local(ctx context.Context, a *app, ws *workspace.Workspace) error {
	size, err := o.maxSize.Bytes()
	if err != nil {
		return err
	}
	things, items, err := localThings(ctx, ws)
	if err == nil {
		err = o.decide(ctx, ws, things, items)
	}
	if err != nil {
		return err
	}
	if size > 0 {
		collect.Fit(things, size)
	}
	if o.dryRun {
		return a.collected(things, nil)
	}
	removed, err := collect.Local(ctx, ws.Store.Local, things)
	return errors.Join(err, a.collected(things, &removed))
}

func localThings(ctx context.Context, ws *workspace.Workspace) ([]collect.Thing, []store.Item, error) {
	items, err := ws.Store.Items(ctx)
	if err != nil {
		return nil, nil, err
	}
	files, err := collect.InFiles(ws.Cache, time.Now())
	return append(collect.OfItems(items, nil), files...), items, err
}

// fit keeps the local cache within a budget after a build.
func fit(ctx context.Context, ws *workspace.Workspace, limit int64) error {
	if limit == 0 {
		return nil
	}
	things, _, err := localThings(ctx, ws)
	if err != nil {
		return err
	}
	for i := range things {
		things[i].Keep = "within --max-size"
	}
	collect.Fit(things, limit)
	_, gone := collect.Totals(things)
	removed, err := collect.Local(ctx, ws.Store.Local, things)
	if gone.Count > 0 {
		ws.Report.Note("cache", fmt.Sprintf("removed %d entries, %s, that were used longest ago, for --max-size", gone.Count-len(removed.InUse), progress.Size(removed.Freed)))
	}
	return err
}

// remote collects the registry, a repository at a time.
func (o gcOptions) remote(ctx context.Context, a *app, ws *workspace.Workspace) error {
	commits, err := ws.Git.Times(ctx)
	if err != nil {
		return err
	}
	var shelves []store.Shelf
	var items []store.Item
	for _, name := range append(ws.Catalog.Names(), store.Repositories...) {
		shelf, err := ws.Store.Registry.Shelf(ctx, name)
		if err != nil {
			return err
		}
		shelves, items = append(shelves, shelf), append(items, shelf.Items...)
	}
	things := collect.OfItems(items, commits)
	if err := o.decide(ctx, ws, things, items); err != nil {
		return err
	}
	if o.dryRun {
		return a.collected(things, nil)
	}
	removed, err := collect.Registry(ctx, ws.Store.Registry, shelves, things)
	return errors.Join(err, a.collected(things, &removed))
}

// collected prints what stays and goes.
func (a *app) collected(things []collect.Thing, removed *collect.Removed) error {
	slices.SortStableFunc(things, func(x, y collect.Thing) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Name, y.Name), strings.Compare(x.Arch, y.Arch), cmp.Compare(y.Last().Unix(), x.Last().Unix()))
	})
	stay, gone := collect.Totals(things)
	result := struct {
		Things  []collect.Thing  `json:"things"`
		Stay    collect.Total    `json:"stay"`
		Gone    collect.Total    `json:"gone"`
		Removed *collect.Removed `json:"removed,omitempty"`
	}{things, stay, gone, removed}
	text := table(things, "KIND\tNAME\tARCH\tKEY\tSIZE\tUSED\tKEPT", func(t collect.Thing) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", t.Kind, longSum.ReplaceAllString(t.Name, "$1"), dash(t.Arch), dash(shortKey(t.Key[strings.IndexByte(t.Key, ':')+1:])), progress.Size(t.Size), dateOf(t.Used), cmp.Or(t.Keep, "no: goes"))
	})
	text += fmt.Sprintf("\n%d entries stay, %s; %d go, %s\n", stay.Count, progress.Size(stay.Size), gone.Count, progress.Size(gone.Size))
	if removed != nil {
		text += fmt.Sprintf("removed %s; %d entries stayed because they are in use\n", progress.Size(removed.Freed), len(removed.InUse))
	}
	return a.print(result, text)
}

// longSum matches a SHA-256; people need its beginning.
var longSum = regexp.MustCompile(`([0-9a-f]{12})[0-9a-f]{52}`)

func dateOf(used *time.Time) string {
	if used == nil {
		return "-"
	}
	return used.Format(time.DateOnly)
}

// pruneEngine removes the build cache of the engine that a build would use.
func pruneEngine(ctx context.Context, a *app, ws *workspace.Workspace) error {
	var o engineOptions
	endpoint, err := o.finder(a, ws.Folders, ws.Report).Find(ctx)
	if err != nil {
		return err
	}
	session, err := engine.Connect(ctx, endpoint)
	if err != nil {
		return err
	}
	before, after, err := session.Prune(ctx)
	if err = errors.Join(err, session.Close()); err != nil {
		return err
	}
	return a.print(map[string]engine.CacheUse{"before": before, "after": after},
		fmt.Sprintf("the build cache of the engine had %s and has %s\n", progress.Size(before.Size), progress.Size(after.Size)))
}

// budget is a size in bytes as a person writes it: a pflag.Value. "" is no budget.
type budget struct{ name, value string }

// Bytes returns the size, 0 for no budget.
func (b budget) Bytes() (int64, error) {
	if b.value == "" {
		return 0, nil
	}
	size, err := progress.ParseSize(b.value)
	if err != nil {
		err = usage(fmt.Errorf("%s: %w", b.name, err))
	}
	return size, err
}

// Set sets the value of the flag.
func (b *budget) Set(value string) error {
	b.name, b.value = "--max-size", value
	_, err := progress.ParseSize(value)
	return err
}

func (b *budget) String() string { return b.value }

// Type names the value in the help.
func (*budget) Type() string { return "size" }

// maxSize is a variable of the environment that the flag overrides.
const maxSize = "KATA_PIPELINES_MAX_SIZE"

func (a *app) maxSizeFlag(flags *pflag.FlagSet, b *budget) {
	*b = budget{maxSize, a.Getenv(maxSize)}
	flags.Var(b, "max-size", "remove what was used longest ago until the local cache, without the engine, fits into a size such as 20GB (default: $"+maxSize+", or no limit)")
	flags.Lookup("max-size").DefValue = ""
}
