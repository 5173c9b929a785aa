package graph

import (
	"fmt"
	"strings"
)

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
