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

// guest is one boot: what it is made of, and its result. It reads the console.
type guest struct {
	*files
	machine host.Machine
	// nonce is what the disk and the shared folder hold.
	nonce string
	// share, port and disk are paths; noDisk is why the disk is empty.
	share, port, disk string
	noDisk            string
	diskSum           string
	cid               uint32

	result host.Result
	// saw are the observations by name, damaged the lines that were not whole.
	saw     map[string]serial.Observation
	last    string
	damaged int
	panic   string
}

// Line takes a line of the console, and says whether the boot is over.
func (g *guest) Line(line string) bool {
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

// check makes the checks of a boot out of what was said.
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
		c.Saw = fmt.Sprintf("up, looked at and off again in %.1f s", seconds)
		if g.damaged > 0 {
			c.Saw += fmt.Sprintf("; %d lines of the init were damaged", g.damaged)
		}
	case ended:
		c.Saw = "the guest did not turn itself off"
	case g.result.Ending == host.Off:
		c.Saw = "the guest went off before its init was done, " + g.position()
	default:
		c.Saw = fmt.Sprintf("hang: not done after %.0f s, %s", seconds, g.position())
	}
	if c.Verdict == report.Failed {
		c.Console = g.result.Tail
	}
	return c
}

// position says how far the guest has come.
func (g *guest) position() string {
	switch {
	case g.last != "":
		return fmt.Sprintf("and the last thing that the init told was %q", g.last)
	case len(g.result.Tail) > 0:
		return "and the init never began"
	case g.options[g.machine.ConsoleOption] == "y":
		return "and nothing came over " + g.machine.Console
	}
	return fmt.Sprintf("and nothing came over %s, for which the kernel lacks %s", g.machine.Console, g.machine.ConsoleOption)
}

// observed returns an observation; where the guest did not get that far, the
// check is skipped.
func (g *guest) observed(check, name string) (serial.Observation, bool) {
	o, there := g.saw[name]
	if !there {
		g.r.Skip(check, "the guest did not get that far")
	}
	return o, there
}

// checkBuild makes sure that vmlinuz, which runs, and vmlinux are one kernel.
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
		g.r.Judge(name, problems, "vmlinux and vmlinuz are one decompressor with one kernel in it")
		return
	}
	o, ok := g.observed(name, serial.Notes)
	if !ok {
		return
	}
	problems := problem(o)
	notes, err := hex.DecodeString(o.Value)
	if err != nil {
		problems = append(problems, fmt.Sprintf("the notes of the kernel: %v", err))
	}
	id := kimage.BuildID(notes)
	switch {
	case len(problems) > 0:
	case id == "":
		problems = append(problems, "the running kernel has no build ID among its notes")
	case !g.vmlinux.Contains(notes):
		problems = append(problems, fmt.Sprintf("vmlinuz is a kernel with the build ID %s, and vmlinux another", id))
	}
	g.r.Judge(name, problems, "vmlinuz is the kernel of vmlinux, build ID %s", id)
}

// checkKernel is about what the running kernel says of itself.
func (g *guest) checkKernel() {
	if o, ok := g.observed("running release", serial.Release); ok {
		g.r.Judge("running release", unequal("the release", o.Value, g.release), "%s, %s", o.Value, strings.Join(o.Items, " "))
	}
	if o, ok := g.observed("running machine", serial.Machine); ok {
		processors := g.saw[serial.Processors].Size
		problems := unequal("the machine", o.Value, g.Arch)
		if g.options["CONFIG_SMP"] == "y" && processors != host.Processors {
			problems = append(problems, fmt.Sprintf("%d processors: want %d", processors, host.Processors))
		}
		g.r.Judge("running machine", problems, "%s, %d processors", o.Value, processors)
	}
	if g.options["CONFIG_IKCONFIG_PROC"] == "y" {
		if o, ok := g.observed("/proc/config.gz", serial.Config); ok {
			g.r.Judge("/proc/config.gz", sameFile(o, hexSum(g.config), "the config file"), "%d bytes unpacked, equals the config file", o.Size)
		}
	}
	if g.full != nil {
		if raw, err := g.full.BTF(); err == nil {
			if o, ok := g.observed("/sys/kernel/btf", serial.BTF); ok {
				g.r.Judge("/sys/kernel/btf", sameFile(o, hexSum(raw), ".BTF of vmlinux"), "vmlinux, %d bytes, equals .BTF of the file", o.Size)
			}
		}
	}
	if g.vmlinux != nil {
		g.checkBuild()
	}
	if o, ok := g.observed("taint", serial.Taint); ok {
		problems := o.Items
		if o.Error != "" {
			problems = append(problems, o.Error)
		}
		g.r.Judge("taint", problems, "%s: no warning, no oops", o.Value)
	}
}
