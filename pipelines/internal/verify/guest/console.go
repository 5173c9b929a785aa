package guest

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Console is what a guest has said.
type Console struct {
	// Saw are the observations of the init, by name.
	Saw  map[string]serial.Observation
	last string
	// damaged counts lines of the init that were not complete.
	damaged int
	panic   string
}

// NewConsole returns the console of a guest that has said nothing yet.
func NewConsole() *Console { return &Console{Saw: map[string]serial.Observation{}} }

// Line takes a line of the console, and reports whether the boot is over.
func (c *Console) Line(line string) bool {
	if why, is := serial.Panic(line); is && c.panic == "" {
		c.panic = why
	}
	o, ours, err := serial.Decode(line)
	switch {
	case !ours:
	case err != nil:
		c.damaged++
	default:
		c.Saw[o.Name], c.last = o, o.Name
	}
	return c.panic != "" || ours && o.Name == serial.End
}

// Booted returns the check boot, of a guest that a machine has run.
func (c *Console) Booted(m host.Machine, result host.Result) report.Check {
	check := report.Check{Name: "boot", Verdict: report.Failed}
	seconds := result.Elapsed.Seconds()
	_, ended := c.Saw[serial.End]
	switch {
	case c.panic != "":
		check.Saw = "panic: " + c.panic
	case result.Ending == host.Refused:
		check.Saw = fmt.Sprintf("%s failed: %s", filepath.Base(m.Program), result.Stderr)
	case ended && result.Ending == host.Off:
		check.Verdict = report.Passed
		check.Saw = fmt.Sprintf("booted, examined and powered off in %.1f s", seconds)
		if c.damaged > 0 {
			check.Saw += fmt.Sprintf("; %d lines of the init were damaged", c.damaged)
		}
	case ended:
		check.Saw = "the guest did not power off"
	case result.Ending == host.Off:
		check.Saw = "the guest powered off before its init was done, " + c.position(m, result)
	default:
		check.Saw = fmt.Sprintf("hang: not done after %.0f s, %s", seconds, c.position(m, result))
	}
	if check.Verdict == report.Failed {
		check.Console = result.Tail
	}
	return check
}

// Defects returns the defects that the kernel has found in itself, nil if there are none.
func (c *Console) Defects() error {
	if items := c.Saw[serial.Taint].Items; len(items) > 0 {
		return fmt.Errorf("the kernel found defects: %s", strings.Join(items, "\n"))
	}
	return nil
}

// position says how far the guest got.
func (c *Console) position(m host.Machine, result host.Result) string {
	switch {
	case c.last != "":
		return fmt.Sprintf("and the last report of the init was %q", c.last)
	case len(result.Tail) > 0:
		return "and the init never began"
	}
	return "and nothing came over " + m.Console
}
