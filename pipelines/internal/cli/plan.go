package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/graph"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/planview"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
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
				err = planview.Plan(a.Stdout, plan.Steps, arch)
			}
			return errors.Join(err, a.summarize(planview.Markdown(plan.Steps, arch, ws.Catalog)))
		}),
	}
	flags := cmd.Flags()
	selectionFlags(flags, &o.selection)
	cacheFlag(flags, a, &o.registry)
	jsonFlag(flags, &o.json)
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

type explainOptions struct {
	registry string
	arch     string
	inputs   bool
	json     bool
}

// explained is a step of a plan with all that is known about it.
type explained struct {
	build.Step
	// TakesWithIt are the assets whose keys change where this one's output does;
	// none for a hit.
	TakesWithIt []string        `json:"takesWithIt"`
	Recipe      json.RawMessage `json:"recipe"`
}

func explainCmd(a *app) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Print what changed since an asset was last built",
		Long: `Compare the inputs of an asset with those of the nearest earlier artifact: the
one of the local cache with the most inputs in common, or else the latest of the
branch in the registry. With --inputs print the key and everything that is in it.`,
		Example: `  pipelines explain kernel-debug
  pipelines explain kernel-debug --inputs
  pipelines explain qemu --arch arm64 --json`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: a.with(&o.registry, func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			step, err := explain(ctx, ws, args[0], o.arch)
			switch {
			case err != nil:
				return err
			case o.json:
				if step.Recipe, err = step.Resolved.Recipe.Canonical(); err != nil {
					return err
				}
				return printJSON(a.Stdout, step)
			case o.inputs:
				return planview.Inputs(a.Stdout, step.Step)
			}
			return planview.Explanation(a.Stdout, step.Step, step.TakesWithIt)
		}),
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	cacheFlag(flags, a, &o.registry)
	flags.BoolVar(&o.inputs, "inputs", false, "print the key and all inputs that are in it")
	flags.BoolVar(&o.json, "json", false, "print the key, the changes and all inputs as JSON")
	return cmd
}

// explain plans one asset.
func explain(ctx context.Context, ws *workspace.Workspace, name, arch string) (explained, error) {
	_, parsed, err := ws.One(name, arch)
	if err != nil {
		return explained{}, err
	}
	plan, err := planner(ctx, ws, ws.Sources).Plan(ctx, []string{name}, parsed)
	if err != nil {
		return explained{}, err
	}
	step := explained{Step: plan.Step(name), TakesWithIt: []string{}}
	if step.State != build.Hit {
		step.TakesWithIt = append(step.TakesWithIt, ws.Catalog.Dependents(name, parsed)...)
	}
	return step, nil
}

// graphFormats are the values of --format; the first is the default.
var graphFormats = []string{"mermaid", "dot", "svg"}

type graphOptions struct {
	selection workspace.Selection
	format    string
	json      bool
}

func graphCmd(a *app) *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph [NAME...|--set SET|--all]",
		Short: "Draw the dependencies of assets",
		Long: `Draw the named assets and their dependencies as Mermaid or Graphviz text, or as an
SVG picture, which needs Graphviz. Without names, draw all assets of the
architecture. An edge goes from a dependency to the asset that needs it.`,
		Example: `  pipelines graph
  pipelines graph shim-v2 --arch arm64 --format dot
  pipelines graph --format svg > assets.svg`,
		Args: selected(&o.selection, true),
		RunE: a.with(nil, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			return runGraph(ctx, a.Stdout, o, ws)
		}),
	}
	flags := cmd.Flags()
	selectionFlags(flags, &o.selection)
	flags.StringVar(&o.format, "format", graphFormats[0], "one of "+strings.Join(graphFormats, ", "))
	flags.BoolVar(&o.json, "json", false, "print the graph as JSON")
	return cmd
}

func runGraph(ctx context.Context, w io.Writer, o graphOptions, ws *workspace.Workspace) error {
	if !slices.Contains(graphFormats, o.format) {
		return usage(fmt.Errorf("--format %s: want one of %s", o.format, strings.Join(graphFormats, ", ")))
	}
	names, arch, err := ws.Select(o.selection)
	if err != nil {
		return err
	}
	closure, err := ws.Catalog.Closure(names, arch)
	if err != nil {
		return err
	}
	var nodes []graph.Node
	for _, asset := range closure {
		nodes = append(nodes, graph.Node{Name: asset.Name, Dependencies: asset.Dependencies})
	}
	g, err := graph.New(nodes)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(w, struct {
			Arch  catalog.Arch `json:"arch"`
			Nodes []graph.Node `json:"nodes"`
		}{arch, g.Nodes})
	}
	text := g.Mermaid()
	switch o.format {
	case "dot":
		text = g.DOT()
	case "svg":
		if text, err = g.SVG(ctx); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, text)
	return err
}
