package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// printJSON prints a value for programs.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printList prints items as JSON, or as a table. The heading, if any, and the row of
// an item have their columns between tabs.
func printList[T any](w io.Writer, asJSON bool, items []T, heading string, row func(T) string) error {
	if asJSON {
		return printJSON(w, append([]T{}, items...)) // never null
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if heading != "" {
		fmt.Fprintln(table, heading)
	}
	for _, item := range items {
		fmt.Fprintln(table, row(item))
	}
	return table.Flush()
}

// dash prints words, or a dash for none.
func dash(words []string) string { return orDash(strings.Join(words, " ")) }

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// shortKey is as much of a key as a person compares.
func shortKey(key string) string { return fmt.Sprintf("%.12s", key) }
