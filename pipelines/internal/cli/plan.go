package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/graph"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/planview"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func planCmd(a *app) *cobra.Command {
	var selection workspace.Selection
	var given map[string]string
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
		Args: selected(&selection, false),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			names, arch, err := ws.Select(selection)
			if err != nil {
				return err
			}
			if err := give(ctx, ws, names, arch, given); err != nil {
				return err
			}
			plan, err := planner(ctx, ws).Plan(ctx, names, arch)
			if err != nil {
				return err
			}
			return errors.Join(a.print(plan.Steps, planview.Plan(plan.Steps, arch)), a.summarize(planview.Markdown(plan.Steps, arch, ws.Catalog)))
		}),
	}
	flags := cmd.Flags()
	selectionFlags(flags, &selection)
	sourceFlag(flags, &given)
	a.cacheFlag(flags)
	a.jsonFlag(flags)
	return cmd
}

// give checks local files and folders, and replaces sources by them.
func give(ctx context.Context, ws *workspace.Workspace, names []string, arch catalog.Arch, given map[string]string) error {
	if err := ws.CheckSources(names, arch, given, ""); err != nil {
		return err
	}
	return ws.Give(ctx, names, arch, given)
}

// planner looks up what is in the caches.
func planner(ctx context.Context, ws *workspace.Workspace) *build.Planner {
	p := &build.Planner{Catalog: ws.Catalog, Resolver: ws.Resolver, Store: ws.Store, Sources: ws.Sources, Report: ws.Report}
	if ws.Store.Registry != nil {
		p.Branches = ws.Branches(ctx)
	}
	return p
}

// explained is a step of a plan with everything that the caches know about it.
type explained struct {
	build.Step
	// TakesWithIt are the assets whose keys change if this one's output changes; none for a
	// hit.
	TakesWithIt []string        `json:"takesWithIt"`
	Recipe      json.RawMessage `json:"recipe"`
}

func explainCmd(a *app) *cobra.Command {
	var arch string
	var inputs bool
	var given map[string]string
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Print what changed since an asset was last built",
		Long: `Compare the inputs of an asset with those of the nearest earlier artifact: the
one of the local cache with the most inputs in common, or else the latest of the
branch in the registry. With --inputs print the key and everything that is in it. The
JSON has all of this.`,
		Example: `  pipelines explain kernel-debug
  pipelines explain kernel-debug --inputs
  pipelines explain qemu --arch arm64 --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			asset, parsed, err := ws.One(args[0], arch)
			if err != nil {
				return err
			}
			if err := give(ctx, ws, args, parsed, given); err != nil {
				return err
			}
			step, err := explain(ctx, ws, asset.Name, parsed)
			if err != nil {
				return err
			}
			text := planview.Explanation(step.Step, step.TakesWithIt)
			if inputs {
				text = planview.Inputs(step.Step)
			}
			return a.print(step, text)
		}),
	}
	flags := cmd.Flags()
	archFlag(flags, &arch)
	sourceFlag(flags, &given)
	a.cacheFlag(flags)
	flags.BoolVar(&inputs, "inputs", false, "print the key and all inputs that are in it")
	a.jsonFlag(flags)
	return cmd
}

func explain(ctx context.Context, ws *workspace.Workspace, name string, arch catalog.Arch) (explained, error) {
	plan, err := planner(ctx, ws).Plan(ctx, []string{name}, arch)
	if err != nil {
		return explained{}, err
	}
	step := explained{Step: plan.Step(name), TakesWithIt: []string{}}
	if step.State != build.Hit {
		step.TakesWithIt = append(step.TakesWithIt, ws.Catalog.Dependents(name, arch)...)
	}
	step.Recipe, err = step.Resolved.Recipe.Canonical()
	return step, err
}

// graphFormats are the values of --format; the first is the default.
var graphFormats = []string{"mermaid", "dot", "svg"}

func graphCmd(a *app) *cobra.Command {
	var selection workspace.Selection
	var format string
	cmd := &cobra.Command{
		Use:   "graph [NAME...|--set SET|--all]",
		Short: "Draw the dependencies of assets",
		Long: `Draw the named assets and their dependencies as Mermaid or Graphviz text, or as an
SVG picture, which needs Graphviz. Without names, draw all assets of the
architecture. An edge goes from a dependency to the asset that needs it; the box of an
imported asset is dashed.`,
		Example: `  pipelines graph
  pipelines graph shim-v2 --arch arm64 --format dot
  pipelines graph --format svg > assets.svg`,
		Args: selected(&selection, true),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			return runGraph(ctx, a, ws, selection, format)
		}),
	}
	flags := cmd.Flags()
	selectionFlags(flags, &selection)
	flags.StringVar(&format, "format", graphFormats[0], "one of "+strings.Join(graphFormats, ", "))
	a.jsonFlag(flags)
	return cmd
}

type drawn struct {
	Arch  catalog.Arch `json:"arch"`
	Nodes graph.Graph  `json:"nodes"`
}

func runGraph(ctx context.Context, a *app, ws *workspace.Workspace, selection workspace.Selection, format string) error {
	if !slices.Contains(graphFormats, format) {
		return usage(fmt.Errorf("--format %s: want one of %s", format, strings.Join(graphFormats, ", ")))
	}
	names, arch, err := ws.Select(selection)
	if err != nil {
		return err
	}
	closure, err := ws.Catalog.Closure(names, arch)
	if err != nil {
		return err
	}
	g := graph.New(closure)
	text := g.Mermaid()
	switch {
	case a.json:
	case format == "dot":
		text = g.DOT()
	case format == "svg":
		if text, err = g.SVG(ctx); err != nil {
			return err
		}
	}
	return a.print(drawn{arch, g}, text)
}
