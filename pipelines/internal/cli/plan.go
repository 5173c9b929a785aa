package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type planOptions struct {
	registry  string
	selection workspace.Selection
	json      bool
}

func planCmd(a *app) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan NAME...|--set SET|--all",
		Short: "Say what is in the cache, what would be built, and why",
		Long: `Look up the assets and all they depend on, dependencies first: hit where the
artifact is in the cache, build where it is not, pending where the key depends on
what must be built first. Assets of one stage can be built at the same time.
Nothing is built or pulled, and no engine started.`,
		Args: selected(&o.selection, false),
		RunE: func(cmd *cobra.Command, _ []string) error { return runPlan(cmd.Context(), a, o) },
	}
	flags := cmd.Flags()
	selectionFlags(flags, &o.selection)
	cacheFlag(flags, a, &o.registry)
	flags.BoolVar(&o.json, "json", false, "print the plan as JSON")
	return cmd
}

func runPlan(ctx context.Context, a *app, o planOptions) error {
	ws, err := a.open(ctx, o.registry)
	if err != nil {
		return err
	}
	defer ws.Close()
	names, arch, err := ws.Select(o.selection)
	if err != nil {
		return err
	}
	steps, err := planner(ctx, ws, arch).Plan(ctx, names, arch)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(a.Stdout, append([]build.Step{}, steps...))
	} else {
		err = printPlan(a.Stdout, steps, arch)
	}
	explained := explainMarkdown(steps, func(name string) []string { return ws.Catalog.Dependents(name, arch) })
	return errors.Join(err, a.summarize(planMarkdown(steps, arch)+explained))
}

// planner looks up what is in the caches.
func planner(ctx context.Context, ws *workspace.Workspace, arch catalog.Arch) *build.Planner {
	planner := &build.Planner{
		Cached: func(ctx context.Context, place versions.Place) (bool, error) {
			return hasSource(ctx, ws, place)
		},
		Catalog:  ws.Catalog,
		Resolver: ws.Resolver,
		Find:     ws.Store.Find,
		List:     ws.Store.Local.List,
		Note:     func(text string) { ws.Report.Note("plan", text) },
	}
	if ws.Store.Registry == nil {
		return planner
	}
	branches := ws.Branches(ctx)
	planner.Branch = branches[0]
	planner.Latest = func(ctx context.Context, asset, tag string) (store.Artifact, error) {
		artifact, err := ws.Store.Registry.Latest(ctx, asset, tag)
		for _, branch := range branches[1:] {
			if store.IsNotFound(err) {
				artifact, err = ws.Store.Registry.Latest(ctx, asset, store.MovingTag("latest", branch, string(arch)))
			}
		}
		return artifact, err
	}
	return planner
}

// hasSource says whether a cache has the file of a place. That of a Go module is
// in Go's own cache or comes from a proxy, as for any Go program: nobody is asked.
func hasSource(ctx context.Context, ws *workspace.Workspace, place versions.Place) (bool, error) {
	if place.Go != nil {
		return true, nil
	}
	state, err := ws.Sources.Has(ctx, place)
	if err != nil || state.Cached || ws.Store.Registry == nil || !place.Cacheable() {
		return state.Cached, err
	}
	_, err = ws.Store.Registry.FindSource(ctx, place.Hash())
	if store.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// sayAbsent says what a build would have to ask for.
func sayAbsent(a build.Absent) string {
	from := strings.Join(a.Places, " or ")
	if !a.Pinned {
		return fmt.Sprintf("source %s cannot be used: %s has no commit written down, so nothing can be built of it", a.Source, from)
	}
	return fmt.Sprintf("source %s is in no cache: it must come from %s, or be given with --source %s=PATH", a.Source, from, a.Source)
}

// printPlan writes a plan for a person: a table, a line for each reason, and
// the total.
func printPlan(w io.Writer, steps []build.Step, arch catalog.Arch) error {
	var out, why strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STAGE\tASSET\tARCH\tSTATE\tWHERE\tSIZE\tKEY")
	for _, s := range steps {
		size := "-"
		if s.State == build.Hit {
			size = progress.Size(s.Size)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Stage, s.Asset, s.Arch, s.State, orDash(s.Where), size, orDash(shortKey(s.Key)))
		if s.Why != "" {
			fmt.Fprintf(&why, "%s: %s\n", s.Asset, progress.Printable(s.Why))
		}
		for _, absent := range s.Absent {
			fmt.Fprintf(&why, "%s: %s\n", s.Asset, progress.Printable(sayAbsent(absent)))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if why.Len() > 0 {
		out.WriteString("\n" + why.String())
	}
	out.WriteString("\n" + total(steps, arch) + "\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// planMarkdown writes a plan for the summary of a step of GitHub Actions.
func planMarkdown(steps []build.Step, arch catalog.Arch) string {
	var out strings.Builder
	out.WriteString("| stage | asset | arch | state | size | key | why |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, s := range steps {
		size, key := "", ""
		if s.State == build.Hit {
			size = progress.Size(s.Size)
		}
		if s.Key != "" {
			key = "`" + shortKey(s.Key) + "`"
		}
		fmt.Fprintf(&out, "| %d | %s | %s | %s | %s | %s | %s |\n", s.Stage, s.Asset, s.Arch, stateOf(s), size, key, markdownCell.Replace(progress.Printable(s.Why)))
	}
	return out.String() + "\n" + total(steps, arch) + "\n"
}

// markdownCell keeps text from being anything but text in a cell of a table.
var markdownCell = strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;")

// total counts: "3 assets: 1 hit (local), 1 build, 1 pending".
func total(steps []build.Step, arch catalog.Arch) string {
	if len(steps) == 0 {
		return fmt.Sprintf("no assets on %s", arch)
	}
	count := map[string]int{}
	for _, s := range steps {
		count[stateOf(s)]++
	}
	var parts []string
	for _, state := range []string{"hit (" + store.InLocal + ")", "hit (" + store.InRegistry + ")", string(build.Miss), string(build.Pending)} {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	assets := "assets"
	if len(steps) == 1 {
		assets = "asset"
	}
	return fmt.Sprintf("%d %s: %s", len(steps), assets, strings.Join(parts, ", "))
}

// stateOf writes the state of a step, and for a hit where it is.
func stateOf(s build.Step) string {
	if s.State == build.Hit {
		return fmt.Sprintf("%s (%s)", s.State, s.Where)
	}
	return string(s.State)
}
