package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// sawLines is how many lines of one check a table shows.
const sawLines = 12

// printReport writes what each check saw, the consoles of guests that failed, and a
// summary.
func printReport(w io.Writer, r *report.Report) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, check := range r.Checks {
		verdict, name := string(check.Verdict), check.Name
		lines := strings.Split(check.Saw, "\n")
		if more := len(lines) - sawLines; more > 0 {
			lines = append(lines[:sawLines], fmt.Sprintf("and %d more lines: --json has all of them", more))
		}
		for _, line := range lines {
			fmt.Fprintf(table, "%s\t%s\t%s\n", verdict, name, progress.Printable(line))
			verdict, name = "", ""
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, check := range r.Checks {
		if len(check.Console) > 0 {
			fmt.Fprintf(&text, "\nthe end of the console (%s):\n", check.Name)
		}
		for _, line := range check.Console {
			fmt.Fprintln(&text, "    "+progress.Printable(line))
		}
	}
	fmt.Fprintf(&text, "\n%s %s: %d passed, %d failed, %d skipped\n", r.Asset, r.Arch, r.Passed, r.Failed, r.Skipped)
	_, err := io.WriteString(w, text.String())
	return err
}
