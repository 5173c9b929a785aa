package cli

import (
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
		Short: "Draw what depends on what",
		Long: `Draw the assets, and all they depend on, as Mermaid, for Graphviz or as an SVG
picture; without names all assets of the architecture. Edges go from a dependency
to what needs it.`,
		RunE: func(_ *cobra.Command, names []string) error {
			tree, err := tree.load(process.Stderr)
			if err != nil {
				return err
			}
			return runGraph(process.Stdout, o, tree, names)
		},
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	flags.StringVar(&o.format, "format", graphFormats[0], "one of "+strings.Join(graphFormats, ", "))
	flags.BoolVar(&o.json, "json", false, "print the graph as JSON")
	return cmd
}

func runGraph(w io.Writer, o graphOptions, tree *tree, names []string) error {
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
	text := g.Mermaid
	switch o.format {
	case "dot":
		text = g.DOT
	case "svg":
		text = g.SVG
	}
	_, err = io.WriteString(w, text())
	return err
}
