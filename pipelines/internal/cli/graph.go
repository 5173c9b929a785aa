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
)

// graphFormats are the values of --format; the first is the default.
var graphFormats = []string{"mermaid", "dot", "svg"}

type graphOptions struct {
	arch   string
	format string
	json   bool
}

func graphCmd(process Process, tree *treeOptions) *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph [NAME...]",
		Short: "Draw the dependencies of assets",
		Long: `Draw the named assets and their dependencies as Mermaid or Graphviz text, or as an
SVG picture, which needs Graphviz. Without names, draw all assets of the
architecture. An edge goes from a dependency to the asset that needs it.`,
		Example: `  pipelines graph
  pipelines graph shim-v2 --arch arm64 --format dot
  pipelines graph --format svg > assets.svg`,
		RunE: func(cmd *cobra.Command, names []string) error {
			tree, err := tree.load(process.Stderr)
			if err != nil {
				return err
			}
			return runGraph(cmd.Context(), process.Stdout, o, tree, names)
		},
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	flags.StringVar(&o.format, "format", graphFormats[0], "one of "+strings.Join(graphFormats, ", "))
	flags.BoolVar(&o.json, "json", false, "print the graph as JSON")
	return cmd
}

func runGraph(ctx context.Context, w io.Writer, o graphOptions, tree *tree, names []string) error {
	if !slices.Contains(graphFormats, o.format) {
		return usage(fmt.Errorf("--format %s: want one of %s", o.format, strings.Join(graphFormats, ", ")))
	}
	names, arch, err := tree.choose(names, len(names) == 0, o.arch)
	if err != nil {
		return err
	}
	closure, err := tree.catalog.Closure(names, arch)
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
