package sizes

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

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
	switch d := r.Change.component(component); {
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
