package sizes

import (
	"fmt"
	"path"
	"strconv"
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

// bytesOf writes a number of bytes, followed by a rounded size where that is easier to
// read.
func bytesOf(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d (%s)", n, progress.Size(n))
}

// percent writes a part of a whole: "41.9%".
func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(max(whole, 1)))
}

// signed writes a difference: "+1.5 MiB", "−20 B".
func signed(n int64) string {
	switch {
	case n < 0:
		return "−" + progress.Size(-n)
	case n == 0:
		return "±0 B"
	}
	return "+" + progress.Size(n)
}

// fine writes a size with two decimals from 1 GiB on.
func fine(n int64) string {
	if n < 1<<30 {
		return progress.Size(n)
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

// grouped writes a number for a person: "2,147,483,648".
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// below returns a path relative to /opt/kata, where nearly everything is.
func below(name string) string {
	if short, is := strings.CutPrefix(name, "opt/kata/"); is {
		return short
	}
	return "/" + name
}

// Share writes a number of bytes as a part of the tarball: "41.9%".
func (r Report) Share(size int64) string { return percent(size, r.Size) }

// LimitShare writes the size as a part of the limit.
func (r Report) LimitShare() string { return percent(r.Size, r.Limit) }

// Growth writes how a component changed, or the whole tarball for "". It is "" if
// nothing changed or there is nothing to compare with.
func (r Report) Growth(component string) string {
	if r.Change == nil {
		return ""
	}
	if component == "" {
		return signed(r.Change.Growth())
	}
	switch d := r.Change.of(component); {
	case d == nil:
		return ""
	case d.State == StateNew:
		return StateNew
	default:
		return signed(d.Growth())
	}
}

// notes are what a reader must know to understand the figures.
func (r Report) notes() []string {
	var notes, reframed []string
	for _, name := range r.Missing {
		notes = append(notes, name+" is missing: the release will be bigger by its size.")
	}
	notes = append(notes, r.OverBudget()...)
	for _, c := range r.Components {
		if c.Reframed {
			reframed = append(reframed, c.Name)
		}
	}
	if len(reframed) > 0 {
		notes = append(notes, "Compressed again because they have no index: "+strings.Join(reframed, ", ")+".")
	}
	if r.Change != nil && r.Change.Estimated {
		notes = append(notes, r.Change.Since+" has no index: the shares of its files are estimates.")
	}
	return notes
}
