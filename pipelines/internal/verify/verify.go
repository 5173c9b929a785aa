// Package verify proves that an artifact works, on the tarball that would be
// shipped. Guest kernels are inspected, format, release, configuration, types
// and links, and booted in QEMU with a small init that says over the serial
// line what it finds (see package serial and command guestinit). What was found
// is in a report: see package report.
package verify

import "github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"

// Report, Check and the verdicts are those of package report.
type (
	Report = report.Report
	Check  = report.Check
)

// The verdicts.
const (
	Passed  = report.Passed
	Failed  = report.Failed
	Skipped = report.Skipped
)
