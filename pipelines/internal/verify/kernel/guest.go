package kernel

import (
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// guest is one boot and its result.
type guest struct {
	*files
	machine host.Machine
	spec    host.Guest
	// nonce is the content of files on the disk and in the shared folder.
	nonce string
	// noDisk is why the disk is empty, and diskSum the hash of its content.
	noDisk  report.Missing
	diskSum string

	result host.Result
	// saw are the observations by name, damaged counts lines that were not complete.
	saw     map[string]serial.Observation
	last    string
	damaged int
	panic   string
}

// line takes a line of the console, and reports whether the boot is over.
func (g *guest) line(line string) bool {
	if why, is := serial.Panic(line); is && g.panic == "" {
		g.panic = why
	}
	o, ours, err := serial.Decode(line)
	switch {
	case !ours:
	case err != nil:
		g.damaged++
	default:
		g.saw[o.Name], g.last = o, o.Name
	}
	return g.panic != "" || ours && o.Name == serial.End
}

// booted judges the boot itself.
func (g *guest) booted() report.Check {
	c := report.Check{Name: "boot", Verdict: report.Failed}
	seconds := g.result.Elapsed.Seconds()
	_, ended := g.saw[serial.End]
	switch {
	case g.panic != "":
		c.Saw = "panic: " + g.panic
	case g.result.Ending == host.Refused:
		c.Saw = fmt.Sprintf("%s failed: %s", g.machine.Program, g.result.Stderr)
	case ended && g.result.Ending == host.Off:
		c.Verdict = report.Passed
		c.Saw = fmt.Sprintf("booted, examined and powered off in %.1f s", seconds)
		if g.damaged > 0 {
			c.Saw += fmt.Sprintf("; %d lines of the init were damaged", g.damaged)
		}
	case ended:
		c.Saw = "the guest did not power off"
	case g.result.Ending == host.Off:
		c.Saw = "the guest powered off before its init was done, " + g.position()
	default:
		c.Saw = fmt.Sprintf("hang: not done after %.0f s, %s", seconds, g.position())
	}
	if c.Verdict == report.Failed {
		c.Console = g.result.Tail
	}
	return c
}

// position says how far the guest got.
func (g *guest) position() string {
	switch {
	case g.last != "":
		return fmt.Sprintf("and the last report of the init was %q", g.last)
	case len(g.result.Tail) > 0:
		return "and the init never began"
	case g.options[g.machine.ConsoleOption] == "y":
		return "and nothing came over " + g.machine.Console
	}
	return fmt.Sprintf("and nothing came over %s, which needs the option %s of the kernel",
		g.machine.Console, g.machine.ConsoleOption)
}
