// Package verify proves that an artifact works, on the tarball that would be
// shipped. Guest kernels are inspected, format, release, configuration, types
// and links, and booted in QEMU with a small init that says over the serial
// line what it finds (see package serial and command guestinit).
//
// A check says what it saw. One that cannot run on a machine is skipped, says
// why, and does not count as passed.
package verify

import (
	"fmt"
	"strings"
)

// Verdict is what a check came to.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
)

// Check is one thing that was looked at.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Saw is what was found, or why the check was skipped; one or more lines.
	Saw string `json:"saw"`
	// Console is the end of a guest's console, where it explains the verdict.
	Console []string `json:"console,omitempty"`
}

// Report is what one tarball came to.
type Report struct {
	Asset string `json:"asset"`
	Arch  string `json:"arch"`
	// Tarball is the file that was looked at.
	Tarball string  `json:"tarball"`
	Checks  []Check `json:"checks"`
	// Passed, Failed and Skipped count the checks.
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// add appends a check.
func (r *Report) add(c Check) {
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

func (r *Report) pass(name, format string, args ...any) {
	r.add(Check{Name: name, Verdict: Passed, Saw: fmt.Sprintf(format, args...)})
}

func (r *Report) fail(name, format string, args ...any) {
	r.add(Check{Name: name, Verdict: Failed, Saw: fmt.Sprintf(format, args...)})
}

func (r *Report) skip(name, format string, args ...any) {
	r.add(Check{Name: name, Verdict: Skipped, Saw: fmt.Sprintf(format, args...)})
}

// judge fails a check with all problems there are, and passes it where there
// are none.
func (r *Report) judge(name string, problems []string, format string, args ...any) {
	if len(problems) > 0 {
		r.fail(name, "%s", strings.Join(problems, "\n"))
		return
	}
	r.pass(name, format, args...)
}

// Err is nil where no check failed.
func (r *Report) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed", r.Failed, len(r.Checks))
}
