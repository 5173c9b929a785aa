// Package graph writes assets and their dependencies as Mermaid or Graphviz text, or as
// an SVG picture. The same assets give the same text. An edge goes from a dependency to
// the asset that needs it.
//
// The package has no layout of its own: GitHub renders Mermaid, and Graphviz
// draws the picture.
package graph

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// Node is a box: an asset, and what it depends on. The box of an imported one is dashed.
type Node struct {
	Name string `json:"name"`
	// Imported says that the asset is not built here.
	Imported bool `json:"imported"`
	// Stage counts from 1: the assets of a stage depend only on assets of earlier ones.
	Stage int `json:"stage"`
	// Dependencies are sorted and never nil.
	Dependencies []string `json:"dependencies"`
}

// Graph is a list of nodes, sorted by stage and name.
type Graph []Node

// New returns the graph of assets, which are given with dependencies first.
func New(closure []catalog.Asset) Graph {
	g := Graph{}
	for i, assets := range catalog.Stages(closure) {
		for _, asset := range assets {
			dependencies := slices.Compact(slices.Sorted(slices.Values(asset.Dependencies)))
			g = append(g, Node{asset.Name, asset.Import != nil, i + 1, append([]string{}, dependencies...)})
		}
	}
	return g
}

// Mermaid returns the graph as Mermaid text, which GitHub renders in Markdown.
func (g Graph) Mermaid() string {
	var boxes, edges strings.Builder
	ids := map[string]string{}
	for i, node := range g {
		// A name need not be an identifier: "end" is a keyword.
		ids[node.Name] = fmt.Sprintf("n%d", i+1)
		fmt.Fprintf(&boxes, "  %s[%q]\n", ids[node.Name], node.Name)
		if node.Imported {
			fmt.Fprintf(&boxes, "  style %s stroke-dasharray:4\n", ids[node.Name])
		}
		for _, dependency := range node.Dependencies {
			fmt.Fprintf(&edges, "  %s --> %s\n", ids[dependency], ids[node.Name])
		}
	}
	return "graph LR\n" + boxes.String() + edges.String()
}

// DOT returns the graph as Graphviz text.
func (g Graph) DOT() string {
	var boxes, edges strings.Builder
	for _, node := range g {
		style := ""
		if node.Imported {
			style = ` [style="rounded,dashed"]`
		}
		fmt.Fprintf(&boxes, "  %q%s\n", node.Name, style)
		for _, dependency := range node.Dependencies {
			fmt.Fprintf(&edges, "  %q -> %q\n", dependency, node.Name)
		}
	}
	return "digraph assets {\n  rankdir=LR\n  node [shape=box, style=rounded, fontname=monospace]\n" + boxes.String() + edges.String() + "}\n"
}

// SVG returns the graph as a picture, drawn by the dot program of Graphviz.
func (g Graph) SVG(ctx context.Context) (string, error) {
	cmd := command.New(ctx, "dot", "-Tsvg")
	cmd.Stdin = strings.NewReader(g.DOT())
	picture, err := command.Output(ctx, cmd)
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("an SVG needs the dot program of Graphviz: install it with `apt-get install graphviz`")
	}
	return picture, err
}
