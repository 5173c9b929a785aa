// Package graph draws what depends on what, as Mermaid, Graphviz or SVG. It
// turns plain data into text: the same nodes give the same bytes, in whatever
// order they come. Edges go from a dependency to what needs it.
package graph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Node is a box: its name, which is unique, and the names it depends on.
type Node struct {
	Name         string   `json:"name"`
	Stage        int      `json:"stage"`
	Dependencies []string `json:"dependencies"`
}

// Graph is a set of nodes without circles.
type Graph struct {
	// Nodes are sorted by stage and name, and so dependencies first. The stage
	// of a node is 1 where it depends on nothing, else one more than the highest
	// of its dependencies. Dependencies are sorted and never nil.
	Nodes []Node
}

// Edge says that To depends on From.
type Edge struct{ From, To string }

// New returns the graph of some nodes, whose stages it computes. A name that
// stands twice, a dependency that is no node and a circle are errors.
func New(nodes []Node) (*Graph, error) {
	byName := map[string]*Node{}
	sorted := make([]Node, len(nodes))
	for i, node := range nodes {
		if byName[node.Name] != nil {
			return nil, fmt.Errorf("%q stands twice in the graph", node.Name)
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

// setStage sets the stage of a node and of all it depends on; above are the
// names that led to it.
func setStage(byName map[string]*Node, node *Node, above []string) error {
	if slices.Contains(above, node.Name) {
		return fmt.Errorf("a circle of dependencies: %s", strings.Join(append(above, node.Name), " -> "))
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

// Edges returns the edges, sorted as their ends are in Nodes: by To, then From.
func (g *Graph) Edges() []Edge {
	var edges []Edge
	for _, node := range g.Nodes {
		for _, dependency := range node.Dependencies {
			edges = append(edges, Edge{From: dependency, To: node.Name})
		}
	}
	return edges
}
