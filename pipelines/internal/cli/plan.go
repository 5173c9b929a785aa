package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
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
			return errors.Join(err, a.summarize(planMarkdown(plan.Steps, arch, ws.Catalog)))
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

// printPlan prints a table, a line for each reason, and the total.
func printPlan(w io.Writer, steps []build.Step, arch catalog.Arch) error {
	err := printList(w, false, steps, "STAGE\tASSET\tARCH\tSTATE\tWHERE\tSIZE\tKEY", func(s build.Step) string {
		size := "-"
		if s.State == build.Hit {
			size = progress.Size(s.Size)
		}
		return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s", s.Stage, s.Asset, s.Arch, s.State, orDash(s.Where), size, orDash(shortKey(s.Key)))
	})
	var why strings.Builder
	for _, s := range steps {
		for _, reason := range reasons(s) {
			fmt.Fprintf(&why, "\n%s: %s", s.Asset, progress.Printable(reason))
		}
	}
	if why.Len() > 0 {
		why.WriteString("\n")
	}
	_, printing := fmt.Fprintf(w, "%s\n%s\n", why.String(), total(steps, arch))
	return errors.Join(err, printing)
}

// reasons are why a step is to be built, and what it has to fetch.
func reasons(s build.Step) []string {
	var texts []string
	if s.Why != "" {
		texts = append(texts, s.Why)
	}
	for _, absent := range s.Absent {
		texts = append(texts, absent.String())
	}
	return texts
}

// planMarkdown returns a plan for the summary of a step of GitHub Actions: a table
// and, folded, what is known about each asset that is not in the cache.
func planMarkdown(steps []build.Step, arch catalog.Arch, assets *catalog.Catalog) string {
	var text strings.Builder
	markdown.Table(&text, "stage", "asset", "arch", "state", "size", "key", "why")
	for _, s := range steps {
		size := ""
		if s.State == build.Hit {
			size = progress.Size(s.Size)
		}
		markdown.Row(&text, fmt.Sprint(s.Stage), s.Asset, s.Arch, stateOf(s), size, markdown.Code(shortKey(s.Key)), markdown.Plain(progress.Printable(s.Why)))
	}
	text.WriteString("\n" + total(steps, arch) + "\n")
	for _, s := range steps {
		if s.State != build.Hit {
			explainMarkdown(&text, s, assets)
		}
	}
	return text.String()
}

// explainMarkdown adds all changes since the nearest artifact, the sources that no
// cache has, and the assets that depend on the step's.
func explainMarkdown(text *strings.Builder, s build.Step, assets *catalog.Catalog) {
	title := "nothing earlier to compare with"
	if s.Against != nil {
		title = fmt.Sprintf("%s against <code>%s</code> (%s)", count(len(s.Changes), "change"), shortKey(s.Against.Key), s.Against.Where)
	}
	var items []string
	for _, change := range s.Changes {
		items = append(items, change.String())
	}
	if len(s.Changes) == 0 {
		items = append(items, s.Why)
	}
	for _, absent := range s.Absent {
		items = append(items, absent.String())
	}
	if takes := assets.Dependents(s.Asset, catalog.Arch(s.Arch)); len(takes) > 0 {
		items = append(items, "takes with it: "+strings.Join(takes, ", "))
	}
	fmt.Fprintf(text, "\n<details><summary>%s: %s</summary>\n\n", s.Asset, title)
	for _, item := range items {
		fmt.Fprintf(text, "- %s\n", markdown.Plain(progress.Printable(item)))
	}
	text.WriteString("\n</details>\n")
}

// count is a number of things: "1 change".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// total counts: "3 assets: 1 hit (local), 1 build, 1 pending".
func total(steps []build.Step, arch catalog.Arch) string {
	if len(steps) == 0 {
		return fmt.Sprintf("no assets on %s", arch)
	}
	states := map[string]int{}
	for _, s := range steps {
		states[stateOf(s)]++
	}
	var parts []string
	for _, state := range []string{"hit (" + store.InLocal + ")", "hit (" + store.InRegistry + ")", string(build.Miss), string(build.Pending)} {
		if states[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", states[state], state))
		}
	}
	return count(len(steps), "asset") + ": " + strings.Join(parts, ", ")
}

// stateOf writes the state of a step, and for a hit where it is.
func stateOf(s build.Step) string {
	if s.State == build.Hit {
		return fmt.Sprintf("%s (%s)", s.State, s.Where)
	}
	return string(s.State)
}
