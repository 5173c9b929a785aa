package sizes

import (
	"fmt"
	"path"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// How many lines of each kind the Markdown has at most: a comment on a pull request
// holds 65,536 characters.
const (
	maxMarkdownBiggest = 15
	maxMarkdownChanged = 30
)

// Markdown returns the report for a pull request or a step summary: the total and what
// changed first, the rest folded.
func (r Report) Markdown() string {
	var text strings.Builder
	fmt.Fprintf(&text, "### %s on %s: %s", markdown.Plain(MergedName(r.Set)), r.Arch, fine(r.Size))
	if r.Change != nil {
		fmt.Fprintf(&text, " (%s since %s)", signed(r.Change.Growth()), markdown.Plain(r.Change.Since))
	}
	text.WriteString("\n\n")
	if r.Size >= r.Limit {
		fmt.Fprintf(&text, "**%s bytes too many for a release**: it would be %s bytes long, and must stay below %s.\n",
			bytesOf(r.Size-r.Limit+1), grouped(r.Size), grouped(r.Limit))
	} else {
		fmt.Fprintf(&text, "%s bytes, %s of the limit: %s are left.\n", grouped(r.Size), r.LimitShare(), progress.Size(r.Limit-1-r.Size))
	}
	for i, note := range r.notes() {
		if i == 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(&text, "- %s\n", markdown.Plain(note))
	}
	if r.Change != nil {
		r.Change.markdown(&text)
	}
	r.markdownComponents(&text)
	fold(&text, "Biggest files")
	markdown.Table(&text, "file", "component", "size", "unpacked")
	for _, m := range r.Biggest(maxMarkdownBiggest) {
		markdown.Row(&text, markdown.Code(below(m.Name)), markdown.Plain(m.Component), progress.Size(m.Packed), progress.Size(m.Size))
	}
	text.WriteString("\n</details>\n")
	return text.String()
}

// fold begins what is shown on demand.
func fold(text *strings.Builder, summary string) {
	fmt.Fprintf(text, "\n<details><summary>%s</summary>\n\n", summary)
}

func (r Report) markdownComponents(text *strings.Builder) {
	fold(text, fmt.Sprintf("%d components", len(r.Components)))
	markdown.Table(text, "component", "size", "of all", "unpacked", "budget")
	for _, c := range r.Components {
		budget := ""
		if c.Budget > 0 {
			budget = progress.Size(c.Budget)
		}
		if c.Over() {
			budget = "**" + budget + "**"
		}
		markdown.Row(text, markdown.Plain(c.Name), progress.Size(c.Size), r.Share(c.Size), progress.Size(c.Unpacked), budget)
	}
	text.WriteString("\n</details>\n")
}

func (c *Change) markdown(text *strings.Builder) {
	if len(c.Components) == 0 && len(c.Members) == 0 {
		fmt.Fprintf(text, "\nNothing changed since %s except what the merge adds.\n", markdown.Plain(c.Since))
		return
	}
	if len(c.Components) > 0 {
		text.WriteString("\n")
		markdown.Table(text, "component", "before", "after", "change")
		for _, d := range c.Components {
			markdown.Row(text, markdown.Plain(d.Name)+d.mark(), d.BeforeSize(), d.AfterSize(), signed(d.Growth()))
		}
	}
	all := c.inChanged()
	if len(all) == 0 {
		return
	}
	fold(text, fmt.Sprintf("%d files changed", len(all)))
	markdown.Table(text, "file", "component", "before", "after", "change")
	members, more := ends(all, maxMarkdownChanged)
	for _, d := range members {
		name := markdown.Code(below(d.Name)) + d.mark()
		if d.Was != "" {
			name += ", was " + markdown.Code(path.Base(d.Was))
		}
		markdown.Row(text, name, markdown.Plain(d.Component), d.BeforeSize(), d.AfterSize(), signed(d.Growth()))
	}
	if more > 0 {
		fmt.Fprintf(text, "\nand %d more that changed less.\n", more)
	}
	text.WriteString("\n</details>\n")
}

// mark labels what is new or gone.
func (d Delta) mark() string {
	if d.State == StateChanged {
		return ""
	}
	return " (" + d.State + ")"
}
