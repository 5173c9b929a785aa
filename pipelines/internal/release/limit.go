package release

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Limit is the size in bytes that GitHub refuses for a file of a release, as it
// does all above.
const Limit int64 = 2_147_483_648

// How many lines an error has of each kind.
const (
	maxBiggest = 10
	maxGrown   = 10
)

// LimitError is a tarball that a release cannot have. Its text says by what.
type LimitError struct{ Report Report }

// Error lists the components by size, the biggest members, and what grew.
func (e *LimitError) Error() string {
	r := e.Report
	var text strings.Builder
	fmt.Fprintf(&text, "%s on %s would have %d bytes, and must have less than %d: %s too many; make some of this smaller, or take it out of the set",
		r.Set, r.Arch, r.Size, r.Limit, bytesOf(r.Size-r.Limit+1))
	fmt.Fprintf(&text, "\ncomponents:")
	for _, c := range r.Components {
		fmt.Fprintf(&text, "\n  %10s  %5s  %s", progress.Size(c.Size), percent(c.Size, r.Size), c.Name)
		if c.Over() {
			fmt.Fprintf(&text, " (over its budget of %s)", progress.Size(c.Budget))
		}
	}
	fmt.Fprintf(&text, "\n  %10s  %5s  the merge's own", progress.Size(r.Own), percent(r.Own, r.Size))
	fmt.Fprintf(&text, "\nbiggest members:")
	for _, m := range r.Biggest(maxBiggest) {
		fmt.Fprintf(&text, "\n  %10s  %s (%s)", progress.Size(m.Packed), m.Name, m.Component)
	}
	if r.Change != nil {
		r.Change.describe(&text)
	} else {
		fmt.Fprintf(&text, "\n(--previous FILE says what grew since a release)")
	}
	return text.String()
}

// bytesOf writes a number of bytes, and where that is long, also for a person.
func bytesOf(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d", n)
	}
	return fmt.Sprintf("%d (%s)", n, progress.Size(n))
}

// percent writes a share of a whole: "41.9%".
func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(max(whole, 1)))
}

// OverBudget says, for each component that is, by how much it is over its budget.
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

// Check returns a *LimitError where the tarball is too big for a release, and where
// strict, an error for each component over its budget.
func (r Report) Check(strict bool) error {
	var problems []error
	if r.Size >= r.Limit {
		problems = append(problems, &LimitError{r})
	}
	if strict {
		for _, text := range r.OverBudget() {
			problems = append(problems, errors.New(text))
		}
	}
	return errors.Join(problems...)
}
