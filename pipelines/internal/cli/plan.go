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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
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
		Short: "Print what is in the cache, what would be built, and why",
		Long: `Look up the assets and all they depend on, dependencies first: hit where the
artifact is in the cache, build where it is not, pending where the key depends on
earlier builds. Assets of one stage can be built at the same time. plan builds and
pulls nothing, and starts no engine; build-asset executes the same plan.`,
		Example: `  pipelines plan kernel-debug
  pipelines plan --all --arch s390x --cache ghcr.io/me/cache
  pipelines plan --set kata-static --json`,
		Args: selected(&o.selection, false),
		RunE: a.with(&o.registry, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			names, arch, err := ws.Select(o.selection)
			if err != nil {
				return err
			}
			plan, err := planner(ctx, ws, ws.Sources).Plan(ctx, names, arch)
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(a.Stdout, append([]build.Step{}, plan.Steps...))
			} else {
				err = printPlan(a.Stdout, plan.Steps, arch)
			}
			return errors.Join(err, a.summarize(planMarkdown(plan.Steps, arch)+explainMarkdown(plan.Steps, ws.Catalog)))
		}),
	}
	flags := cmd.Flags()
	selectionFlags(flags, &o.selection)
	cacheFlag(flags, a, &o.registry)
	flags.BoolVar(&o.json, "json", false, "print the plan as JSON")
	return cmd
}

// planner looks up what is in the caches.
func planner(ctx context.Context, ws *workspace.Workspace, sources *source.Fetcher) *build.Planner {
	p := &build.Planner{Catalog: ws.Catalog, Resolver: ws.Resolver, Store: ws.Store, Sources: sources, Report: ws.Report}
	if ws.Store.Registry != nil {
		p.Branches = ws.Branches(ctx)
	}
	return p
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
			fmt.Fprintf(&why, "%s: %s\n", s.Asset, progress.Printable(absent.String()))
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

// markdownCell escapes a text for a cell of a table.
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
