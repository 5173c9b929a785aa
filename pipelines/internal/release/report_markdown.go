package release

import (
	"fmt"
	"path"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// How many lines the Markdown has of each kind: a comment on a pull request holds
// 65,536 characters.
const (
	maxMarkdownBiggest = 15
	maxMarkdownChanged = 15
)

// Markdown returns the report for a pull request, or for a summary of a workflow:
// what it comes to, what changed, and the rest to unfold. It depends on nothing but
// the report.
func (r Report) Markdown() string {
	var text strings.Builder
	fmt.Fprintf(&text, "### %s on %s: %s", plain(mergedName(r.Set)), r.Arch, fine(r.Size))
	if r.Change != nil {
		fmt.Fprintf(&text, " (%s since %s)", signed(r.Change.After-r.Change.Before), plain(r.Change.Since))
	}
	text.WriteString("\n\n")
	if r.Size >= r.Limit {
		fmt.Fprintf(&text, "**%s bytes too many for a release**: it would have %s, and must have less than %s.\n",
			bytesOf(r.Size-r.Limit+1), grouped(r.Size), grouped(r.Limit))
	} else {
		fmt.Fprintf(&text, "%s bytes, %s of the limit: %s are left.\n", grouped(r.Size), percent(r.Size, r.Limit), progress.Size(r.Limit-1-r.Size))
	}
	for i, note := range r.notes() {
		if i == 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(&text, "- %s\n", plain(note))
	}
	if r.Change != nil {
		r.Change.markdown(&text)
	}
	r.markdownComponents(&text)
	fmt.Fprintf(&text, "\n<details><summary>Biggest files</summary>\n\n")
	table(&text, "file", "component", "size", "unpacked")
	for _, m := range r.Biggest(maxMarkdownBiggest) {
		row(&text, code(below(m.Name)), plain(m.Component), progress.Size(m.Packed), progress.Size(m.Size))
	}
	text.WriteString("\n</details>\n")
	return text.String()
}

func (r Report) markdownComponents(text *strings.Builder) {
	fmt.Fprintf(text, "\n<details><summary>%d components</summary>\n\n", len(r.Components))
	table(text, "component", "size", "of all", "unpacked", "budget")
	for _, c := range r.Components {
		budget := ""
		if c.Budget > 0 {
			budget = progress.Size(c.Budget)
		}
		if c.Over() {
			budget = "**" + budget + "**"
		}
		row(text, plain(c.Name), progress.Size(c.Size), percent(c.Size, r.Size), progress.Size(c.Unpacked), budget)
	}
	text.WriteString("\n</details>\n")
}

func (c *Change) markdown(text *strings.Builder) {
	if len(c.Components) == 0 && len(c.Members) == 0 {
		fmt.Fprintf(text, "\nNothing changed since %s but what the merge itself adds.\n", plain(c.Since))
		return
	}
	if len(c.Components) > 0 {
		text.WriteString("\n")
		table(text, "component", "before", "after", "change")
		for _, d := range c.Components {
			row(text, plain(d.Name)+d.mark(), d.size(d.Before, StateNew), d.size(d.After, StateGone), signed(d.Growth()))
		}
	}
	members := c.inChanged()
	all := len(members)
	if all == 0 {
		return
	}
	fmt.Fprintf(text, "\n<details><summary>%d files changed</summary>\n\n", all)
	table(text, "file", "component", "before", "after", "change")
	if len(members) > 2*maxMarkdownChanged {
		members = append(members[:maxMarkdownChanged:maxMarkdownChanged], members[len(members)-maxMarkdownChanged:]...)
	}
	for _, d := range members {
		name := code(below(d.Name)) + d.mark()
		if d.Was != "" {
			name += ", was " + code(path.Base(d.Was))
		}
		row(text, name, plain(d.Component), d.size(d.Before, StateNew), d.size(d.After, StateGone), signed(d.Growth()))
	}
	if more := all - len(members); more > 0 {
		fmt.Fprintf(text, "\nand %d more that changed less.\n", more)
	}
	text.WriteString("\n</details>\n")
}

// mark says of what is new or gone that it is.
func (d Delta) mark() string {
	if d.State == StateChanged {
		return ""
	}
	return " (" + d.State + ")"
}

// size writes one of two sizes, which there is not in a state.
func (d Delta) size(n int64, not string) string {
	if d.State == not {
		return "–"
	}
	return progress.Size(n)
}
