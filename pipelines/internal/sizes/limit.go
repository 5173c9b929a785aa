package sizes

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Limit is the size in bytes from which GitHub refuses a file of a release.
const Limit int64 = 2_147_483_648

// How many lines of each kind an error has at most.
const (
	maxBiggest = 10
	maxGrown   = 10
)

// tooBig says that a tarball is too big for a release, and what takes the space: the
// components by size, the biggest members, and what grew.
func (r Report) tooBig() error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s on %s would be %d bytes long, and must stay below %d: it is %s bytes too long; make some of this smaller, or take it out of the set",
		r.Set, r.Arch, r.Size, r.Limit, bytesOf(r.Size-r.Limit+1))
	fmt.Fprintf(&text, "\ncomponents:")
	for _, c := range r.Components {
		fmt.Fprintf(&text, "\n  %10s  %5s  %s", progress.Size(c.Size), percent(c.Size, r.Size), c.Name)
		if c.Over() {
			fmt.Fprintf(&text, " (over its budget of %s)", progress.Size(c.Budget))
		}
	}
	fmt.Fprintf(&text, "\n  %10s  %5s  added by the merge", progress.Size(r.Own), percent(r.Own, r.Size))
	fmt.Fprintf(&text, "\nbiggest members:")
	for _, m := range r.Biggest(maxBiggest) {
		fmt.Fprintf(&text, "\n  %10s  %s (%s)", progress.Size(m.Packed), m.Name, m.Component)
	}
	c := r.Change
	if c == nil {
		text.WriteString("\n(--previous FILE says what grew since a release)")
		return errors.New(text.String())
	}
	fmt.Fprintf(&text, "\nsince %s with %s (%s):", c.Since, progress.Size(c.Before), signed(c.Growth()))
	before := text.Len()
	for _, list := range [][]Delta{c.Components, c.inChanged()} {
		for i, d := range list {
			if d.Growth() <= 0 || i == maxGrown {
				break
			}
			fmt.Fprintf(&text, "\n  %10s  %s%s", signed(d.Growth()), d.Name, d.note())
		}
	}
	if text.Len() == before {
		text.WriteString("\n  nothing grew")
	}
	return errors.New(text.String())
}

// OverBudget returns one line for each component that exceeds its budget.
func (r Report) OverBudget() []string {
	var texts []string
	for _, c := range r.Components {
		if c.Over() {
			texts = append(texts, fmt.Sprintf("%s: %s on %s has %s, %s over its budget of %s: make it smaller, or raise the budget",
				c.BudgetPos, c.Name, r.Arch, progress.Size(c.Size), progress.Size(c.Size-c.Budget), progress.Size(c.Budget)))
		}
	}
	return texts
}

// Check returns an error if the tarball is too big for a release and, if strict, one for
// each component that exceeds its budget.
func (r Report) Check(strict bool) error {
	var problems []error
	if r.Size >= r.Limit {
		problems = append(problems, r.tooBig())
	}
	if strict {
		for _, text := range r.OverBudget() {
			problems = append(problems, errors.New(text))
		}
	}
	return errors.Join(problems...)
}
