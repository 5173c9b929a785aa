// Package graph orders assets by their dependencies and writes the result as
// Mermaid or Graphviz text, or as an SVG picture. The same nodes give the same
// text, in whatever order they come. An edge goes from a dependency to the node
// that needs it.
//
// The package has no layout of its own: GitHub renders Mermaid, and Graphviz
// draws the picture.
package graph

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// Node is a box: its name, which is unique, and the names it depends on.
type Node struct {
	Name         string   `json:"name"`
	Stage        int      `json:"stage"`
	Dependencies []string `json:"dependencies"`
}

// Graph is a set of nodes without cycles.
type Graph struct {
	// Nodes are sorted by stage and name, so a dependency precedes the nodes that
	// need it. A node without dependencies has stage 1; any other node has one more
	// than the highest stage of its dependencies. Dependencies are sorted and never
	// nil.
	Nodes []Node
}

// Edge says that To depends on From.
type Edge struct{ From, To string }

// New returns the graph of the nodes and computes their stages. A duplicate name,
// a dependency that is not among the nodes and a cycle are errors.
func New(nodes []Node) (*Graph, error) {
	byName := map[string]*Node{}
	sorted := make([]Node, len(nodes))
	for i, node := range nodes {
		if byName[node.Name] != nil {
			return nil, fmt.Errorf("duplicate node %q", node.Name)
		}
		dependencies := slices.Sorted(slices.Values(node.Dependencies))
		sorted[i] = Node{Name: node.Name, Dependencies: append([]string{}, slices.Compact(dependencies)...)}
		byName[node.Name] = &sorted[i]
	}
	for i := range sorted {
		if err := setStage(byName, &sorted[i], nil); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(sorted, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), strings.Compare(a.Name, b.Name))
	})
	return &Graph{Nodes: sorted}, nil
}

// setStage sets the stages of a node and of everything it depends on; above holds
// the names on the way to it.
func setStage(byName map[string]*Node, node *Node, above []string) error {
	if slices.Contains(above, node.Name) {
		return fmt.Errorf("dependency cycle: %s", strings.Join(append(above, node.Name), " -> "))
	}
	if node.Stage != 0 {
		return nil
	}
	stage := 1
	for _, name := range node.Dependencies {
		dependency := byName[name]
		if dependency == nil {
			return fmt.Errorf("%q depends on %q, which is not in the graph", node.Name, name)
		}
		if err := setStage(byName, dependency, append(above, node.Name)); err != nil {
			return err
		}
		stage = max(stage, dependency.Stage+1)
	}
	node.Stage = stage
	return nil
}

// Edges returns the edges in the order of Nodes: by To, then by From.
func (g *Graph) Edges() []Edge {
	var edges []Edge
	for _, node := range g.Nodes {
		for _, dependency := range node.Dependencies {
			edges = append(edges, Edge{From: dependency, To: node.Name})
		}
	}
	return edges
}

// Mermaid returns the graph as Mermaid text, which GitHub renders in Markdown.
func (g *Graph) Mermaid() string {
	var out strings.Builder
	out.WriteString("graph LR\n")
	ids := map[string]string{}
	for i, node := range g.Nodes {
		// Names are not valid identifiers in general: "end" is a keyword.
		ids[node.Name] = fmt.Sprintf("n%d", i+1)
		fmt.Fprintf(&out, "  %s[\"%s\"]\n", ids[node.Name], mermaidText.Replace(node.Name))
	}
	for _, edge := range g.Edges() {
		fmt.Fprintf(&out, "  %s --> %s\n", ids[edge.From], ids[edge.To])
	}
	return out.String()
}

// mermaidText escapes a quoted label. Mermaid's entities begin with #, and it
// renders HTML and Markdown in labels.
var mermaidText = strings.NewReplacer(
	`#`, "#35;", `"`, "#34;", "&", "#38;", "<", "#60;", ">", "#62;", "`", "#96;", "*", "#42;", `\`, "#92;",
	"\r", " ", "\n", " ",
)

// DOT returns the graph as Graphviz text.
func (g *Graph) DOT() string {
	var out strings.Builder
	out.WriteString("digraph assets {\n  rankdir=LR\n  node [shape=box, style=rounded, fontname=monospace]\n")
	for _, node := range g.Nodes {
		fmt.Fprintf(&out, "  \"%s\"\n", dotText.Replace(node.Name))
	}
	for _, edge := range g.Edges() {
		fmt.Fprintf(&out, "  \"%s\" -> \"%s\"\n", dotText.Replace(edge.From), dotText.Replace(edge.To))
	}
	out.WriteString("}\n")
	return out.String()
}

// dotText escapes a quoted identifier, which is also the label, where \N and
// similar escapes have a meaning.
var dotText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ")

// SVG returns the graph as a picture, drawn by the dot program of Graphviz.
func (g *Graph) SVG(ctx context.Context) (string, error) {
	cmd := command.New(ctx, "dot", "-Tsvg")
	cmd.Stdin = strings.NewReader(g.DOT())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	picture, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("an SVG needs the dot program of Graphviz: install it with `apt-get install graphviz`")
	}
	if err != nil {
		return "", fmt.Errorf("running dot: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return string(picture), nil
}
