package kernel

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// guest is one boot and its result. It reads the console.
type guest struct {
	*files
	machine host.Machine
	// nonce is the content of files on the disk and in the shared folder.
	nonce string
	// share, port and disk are paths; noDisk is why the disk is empty.
	share, port, disk string
	noDisk            string
	diskSum           string
	cid               uint32

	result host.Result
	// saw are the observations by name, damaged counts lines that were not complete.
	saw     map[string]serial.Observation
	last    string
	damaged int
	panic   string
}

// line takes a line of the console, and says whether the boot is over.
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

// check makes the checks of a boot from the observations.
func (g *guest) check() {
	g.r.Add(g.booted())
	if _, began := g.saw[serial.Begin]; !began {
		return
	}
	g.checkKernel()
	g.checkDevices()
	g.checkMounts()
	g.checkBPF()
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
	return fmt.Sprintf("and nothing came over %s, which needs the option %s of the kernel", g.machine.Console, g.machine.ConsoleOption)
}

// judge judges an observation, in which an error comes before other problems. A
// guest that did not get that far skips the check.
func (g *guest) judge(check, observation string, problems []string, format string, args ...any) {
	switch o, there := g.saw[observation]; {
	case !there:
		g.r.Skip(check, "the guest did not get that far")
	case o.Error != "":
		g.r.Fail(check, "%s", o.Error)
	default:
		g.r.Judge(check, problems, format, args...)
	}
}

// checkBuild makes sure that vmlinuz, which runs, and vmlinux are the same kernel.
func (g *guest) checkBuild() {
	const name = "same build"
	if len(g.vmlinux.Sections) == 0 {
		g.r.Skip(name, "vmlinux is compressed: its notes cannot be read")
		return
	}
	if g.vmlinux.Release == "" && g.vmlinuz != nil && len(g.vmlinuz.Sections) > 0 {
		var problems []string
		if !g.vmlinuz.Packs(*g.vmlinux) {
			problems = []string{"vmlinux unpacks another kernel than vmlinuz"}
		}
		g.r.Judge(name, problems, "vmlinux and vmlinuz are the same decompressor with the same kernel")
		return
	}
	var problems []string
	notes, err := hex.DecodeString(g.saw[serial.Notes].Value)
	id := kimage.BuildID(notes)
	switch {
	case err != nil:
		problems = []string{fmt.Sprintf("the notes of the kernel: %v", err)}
	case id == "":
		problems = []string{"the running kernel has no build ID among its notes"}
	case !g.vmlinux.Contains(notes):
		problems = []string{fmt.Sprintf("vmlinuz is a kernel with the build ID %s, and vmlinux another", id)}
	}
	g.judge(name, serial.Notes, problems, "vmlinuz is the kernel of vmlinux, build ID %s", id)
}

// checkKernel checks what the running kernel says about itself.
func (g *guest) checkKernel() {
	o := g.saw[serial.Release]
	g.judge("running release", serial.Release, report.Unequal("the release", o.Value, g.release), "%s, %s", o.Value, strings.Join(o.Items, " "))
	o = g.saw[serial.Machine]
	processors := g.saw[serial.Processors].Size
	problems := report.Unequal("the machine", o.Value, g.Arch)
	if g.options["CONFIG_SMP"] == "y" && processors != host.Processors {
		problems = append(problems, fmt.Sprintf("%d processors: want %d", processors, host.Processors))
	}
	g.judge("running machine", serial.Machine, problems, "%s, %d processors", o.Value, processors)
	if g.options["CONFIG_IKCONFIG_PROC"] == "y" {
		o := g.saw[serial.Config]
		g.judge("/proc/config.gz", serial.Config, sameFile(o, hexSum(g.config), "the config file"), "%d bytes unpacked, equals the config file", o.Size)
	}
	if g.full != nil {
		if raw, err := g.full.BTF(); err == nil {
			o := g.saw[serial.BTF]
			g.judge("/sys/kernel/btf", serial.BTF, sameFile(o, hexSum(raw), ".BTF of vmlinux"), "vmlinux, %d bytes, equals .BTF of the file", o.Size)
		}
	}
	if g.vmlinux != nil {
		g.checkBuild()
	}
	o = g.saw[serial.Taint]
	g.judge("taint", serial.Taint, o.Items, "%s: no warning, no oops", o.Value)
}
