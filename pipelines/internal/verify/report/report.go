// Package report holds what a run of verify found: a Report of checks, and the
// Proof of it that travels with the artifact.
//
// A check says what it saw. A check that cannot run on this machine is skipped,
// says why, and does not count as passed; where it is required, it fails.
package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
)

// Check is the result of examining one property of an artifact.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Saw is what the check found, or why it was skipped; one or more lines.
	Saw string `json:"saw"`
	// Console is the end of a guest's console, where it explains the verdict.
	Console []string `json:"console,omitempty"`
}

// Report is the result of verifying one artifact.
type Report struct {
	Asset string `json:"asset"`
	Arch  string `json:"arch"`
	// Tarball is the file that was verified.
	Tarball string  `json:"tarball"`
	Checks  []Check `json:"checks"`
	// Passed, Failed and Skipped count the checks.
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Required are the names of checks that fail where they would be skipped.
	Required []string `json:"-"`
}

// Missing is the error for what this machine lacks: the check that needs it is
// skipped.
type Missing string

func (m Missing) Error() string { return string(m) }

// Add appends a check.
func (r *Report) Add(c Check) {
	if c.Verdict == Skipped && slices.Contains(r.Required, c.Name) {
		c.Verdict, c.Saw = Failed, "required, but skipped: "+c.Saw
	}
	r.Checks = append(r.Checks, c)
	switch c.Verdict {
	case Passed:
		r.Passed++
	case Failed:
		r.Failed++
	case Skipped:
		r.Skipped++
	}
}

// AsMissing returns the Missing that an error is or wraps. A Missing that is joined with
// other errors does not count, because they are failures.
func AsMissing(err error) (missing Missing, ok bool) {
	var joined interface{ Unwrap() []error }
	return missing, errors.As(err, &missing) && !errors.As(err, &joined)
}

// Result adds a check that saw something, or ended with an error: a Missing skips it,
// and any other error fails it.
func (r *Report) Result(name, saw string, err error) {
	missing, skipped := AsMissing(err)
	switch {
	case skipped:
		r.Add(Check{Name: name, Verdict: Skipped, Saw: missing.Error()})
	case err != nil:
		r.Add(Check{Name: name, Verdict: Failed, Saw: err.Error()})
	default:
		r.Add(Check{Name: name, Verdict: Passed, Saw: saw})
	}
}

// Run runs a check and adds its result.
func (r *Report) Run(name string, check func() (saw string, err error)) {
	saw, err := check()
	r.Result(name, saw, err)
}

// Err returns an error if a check failed, or if none passed.
func (r *Report) Err() error { return verdict(r.Checks) }

func verdict(checks []Check) error {
	passed := 0
	var failed []string
	for _, c := range checks {
		switch c.Verdict {
		case Passed:
			passed++
		case Skipped:
		default:
			failed = append(failed, c.Name)
		}
	}
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d of %d checks failed: %s", len(failed), len(checks), strings.Join(failed, ", "))
	case passed == 0:
		return fmt.Errorf("no check passed, %d skipped", len(checks))
	}
	return nil
}
