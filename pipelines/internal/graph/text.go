package graph

import (
	"fmt"
	"strings"
)

// Mermaid returns the graph for Mermaid, as GitHub draws it in Markdown.
func (g *Graph) Mermaid() string {
	var out strings.Builder
	out.WriteString("graph LR\n")
	ids := map[string]string{}
	for i, node := range g.Nodes {
		// Words such as "end" cannot be identifiers there, nor every character.
		ids[node.Name] = fmt.Sprintf("n%d", i+1)
		fmt.Fprintf(&out, "  %s[\"%s\"]\n", ids[node.Name], mermaidText.Replace(node.Name))
	}
	for _, edge := range g.Edges() {
		fmt.Fprintf(&out, "  %s --> %s\n", ids[edge.From], ids[edge.To])
	}
	return out.String()
}

// mermaidText writes a label between quotes. Entities begin with # there, and
// what looks like HTML or Markdown is drawn as such.
var mermaidText = strings.NewReplacer(
	`#`, "#35;", `"`, "#34;", "&", "#38;", "<", "#60;", ">", "#62;", "`", "#96;", "*", "#42;", `\`, "#92;",
	"\r", " ", "\n", " ",
)

// DOT returns the graph for Graphviz.
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

// dotText writes a quoted identifier, which is also the label: there \N and
// the like would mean something.
var dotText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ")
