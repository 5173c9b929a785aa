package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/graph"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

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
