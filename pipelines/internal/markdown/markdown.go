// Package markdown writes the Markdown of release notes, size reports and step
// summaries. Everything it is given is text: names come from tarballs, registries and
// other people's files, so cells are escaped for GitHub's dialect. It writes only
// tables, and parses nothing.
package markdown

import (
	"fmt"
	"strings"
)

// Table begins a table with the headings of its columns.
func Table(text *strings.Builder, columns ...string) {
	Row(text, columns...)
	fmt.Fprintf(text, "|%s\n", strings.Repeat(" --- |", len(columns)))
}

// Row adds a row to a table. The cells are Markdown: see Code and Plain.
func Row(text *strings.Builder, cells ...string) {
	fmt.Fprintf(text, "| %s |\n", strings.Join(cells, " | "))
}

var (
	codeCell  = strings.NewReplacer("\r", " ", "\n", " ", "|", `\|`, "`", "'")
	plainCell = strings.NewReplacer("\r", " ", "\n", " ", "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "@", "&#64;")
)

// Code returns a text as code. Line breaks, which a cell cannot hold, become spaces.
func Code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + codeCell.Replace(text) + "`"
}

// Plain returns a text in which nothing is markup.
func Plain(text string) string { return plainCell.Replace(text) }
