// Package report holds what a run of verify found: a Report of checks, and the
// Proof of it that travels with the artifact.
//
// A check says what it saw. A check that cannot run on this machine is skipped,
// says why, and does not count as passed; a caller that depends on it turns the
// skip into a failure with Report.Require.
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
}

// Add appends a check.
func (r *Report) Add(c Check) {
	r.Checks = append(r.Checks, c)
	r.count(c.Verdict, 1)
}

func (r *Report) count(verdict Verdict, by int) {
	switch verdict {
	case Passed:
		r.Passed += by
	case Failed:
		r.Failed += by
	case Skipped:
		r.Skipped += by
	}
}

// Pass adds a check that passed.
func (r *Report) Pass(name, format string, args ...any) {
	r.Add(Check{Name: name, Verdict: Passed, Saw: fmt.Sprintf(format, args...)})
}

// Fail adds a check that failed.
func (r *Report) Fail(name, format string, args ...any) {
	r.Add(Check{Name: name, Verdict: Failed, Saw: fmt.Sprintf(format, args...)})
}

// Skip adds a check that could not run.
func (r *Report) Skip(name, format string, args ...any) {
	r.Add(Check{Name: name, Verdict: Skipped, Saw: fmt.Sprintf(format, args...)})
}

// Judge fails a check with all of its problems, and passes it if there are none.
func (r *Report) Judge(name string, problems []string, format string, args ...any) {
	if len(problems) > 0 {
		r.Fail(name, "%s", strings.Join(problems, "\n"))
		return
	}
	r.Pass(name, format, args...)
}

// Result adds a check that failed with an error, or passed without one.
func (r *Report) Result(name string, err error, format string, args ...any) {
	if err != nil {
		r.Fail(name, "%v", err)
		return
	}
	r.Pass(name, format, args...)
}

// Unequal is the problem of a value that is not the wanted one, if it is not.
func Unequal(what, got, want string) []string {
	if got == want {
		return nil
	}
	return []string{fmt.Sprintf("%s is %q: want %q", what, got, want)}
}

// Require turns the checks of the given names that were skipped into failures.
// A name that no check of the report has is an error.
func (r *Report) Require(names []string) error {
	var problems []error
	for _, name := range names {
		i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == name })
		if i < 0 {
			problems = append(problems, fmt.Errorf("required check %q does not exist: choose from %s", name, strings.Join(r.names(), ", ")))
			continue
		}
		if c := &r.Checks[i]; c.Verdict == Skipped {
			r.count(Skipped, -1)
			r.count(Failed, 1)
			c.Verdict, c.Saw = Failed, "required, but skipped: "+c.Saw
		}
	}
	return errors.Join(problems...)
}

func (r *Report) names() []string {
	names := make([]string, len(r.Checks))
	for i, c := range r.Checks {
		names[i] = c.Name
	}
	return names
}

// Err returns an error if a check failed, or if none passed.
func (r *Report) Err() error {
	return verdict(r.Checks)
}

func verdict(checks []Check) error {
	count := map[Verdict]int{}
	var failed []string
	for _, c := range checks {
		count[c.Verdict]++
		if c.Verdict != Passed && c.Verdict != Skipped {
			failed = append(failed, c.Name)
		}
	}
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d of %d checks failed: %s", len(failed), len(checks), strings.Join(failed, ", "))
	case count[Passed] == 0:
		return fmt.Errorf("no check passed, %d skipped", count[Skipped])
	}
	return nil
}
