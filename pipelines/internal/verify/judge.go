package verify

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qemu"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/serial"
)

// guest is one boot: what it is made of, and what came of it.
type guest struct {
	machine qemu.Machine
	// nonce is what the disk and the shared folder hold.
	nonce string
	// share, port and disk are paths; noDisk is why the disk is empty.
	share, port, disk string
	noDisk            string
	diskSum           string
	cid               uint32

	result qemu.Result
	// saw are the observations by name, damaged the lines that were not whole.
	saw     map[string]serial.Observation
	last    string
	damaged int
	panic   string
}

// watch takes a line of the console, and tells whether it is over.
func (g *guest) watch(line string) bool {
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
func (g *guest) check(report *Report, k Kernel, f *files) {
	report.Add(g.boot(f))
	if _, began := g.saw[serial.Begin]; !began {
		return
	}
	g.checkKernel(report, k, f)
	g.checkDevices(report, f)
	g.checkMounts(report, f)
	g.checkBPF(report, f)
}

// boot judges the boot itself.
func (g *guest) boot(f *files) Check {
	c := Check{Name: "boot", Verdict: Failed}
	seconds := g.result.Elapsed.Seconds()
	_, ended := g.saw[serial.End]
	switch {
	case g.panic != "":
		c.Saw = "panic: " + g.panic
	case g.result.Ending == qemu.Refused:
		c.Saw = fmt.Sprintf("%s failed: %s", g.machine.Program, g.result.Stderr)
	case ended && g.result.Ending == qemu.Off:
		c.Verdict = Passed
		c.Saw = fmt.Sprintf("up, looked at and off again in %.1f s", seconds)
		if g.damaged > 0 {
			c.Saw += fmt.Sprintf("; %d lines of the init were damaged", g.damaged)
		}
	case ended:
		c.Saw = "the guest did not turn itself off"
	case g.result.Ending == qemu.Off:
		c.Saw = "the guest went off before its init was done, " + g.position(f)
	default:
		c.Saw = fmt.Sprintf("hang: not done after %.0f s, %s", seconds, g.position(f))
	}
	if c.Verdict == Failed {
		c.Console = g.result.Tail
	}
	return c
}

// position says how far the guest has come.
func (g *guest) position(f *files) string {
	switch {
	case g.last != "":
		return fmt.Sprintf("and the last thing that the init told was %q", g.last)
	case len(g.result.Tail) > 0:
		return "and the init never began"
	case f.options[g.machine.ConsoleOption] == "y":
		return "and nothing came over " + g.machine.Console
	}
	return fmt.Sprintf("and nothing came over %s, for which the kernel lacks %s", g.machine.Console, g.machine.ConsoleOption)
}

// observed returns an observation; where the guest did not get that far, the
// check is skipped.
func (g *guest) observed(report *Report, check, name string) (serial.Observation, bool) {
	o, there := g.saw[name]
	if !there {
		report.Skip(check, "the guest did not get that far")
	}
	return o, there
}

// checkBuild makes sure that vmlinuz, which runs, and vmlinux are one kernel.
func (g *guest) checkBuild(report *Report, f *files) {
	const name = "same build"
	if len(f.vmlinux.Sections) == 0 {
		report.Skip(name, "vmlinux is compressed: its notes cannot be read")
		return
	}
	if f.vmlinux.Release == "" && f.vmlinuz != nil && len(f.vmlinuz.Sections) > 0 {
		var problems []string
		if !f.vmlinuz.Packs(*f.vmlinux) {
			problems = []string{"vmlinux unpacks another kernel than vmlinuz"}
		}
		report.Judge(name, problems, "vmlinux and vmlinuz are one decompressor with one kernel in it")
		return
	}
	o, ok := g.observed(report, name, serial.Notes)
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
	case !f.vmlinux.Contains(notes):
		problems = append(problems, fmt.Sprintf("vmlinuz is a kernel with the build ID %s, and vmlinux another", id))
	}
	report.Judge(name, problems, "vmlinuz is the kernel of vmlinux, build ID %s", id)
}

// checkKernel is about what the running kernel says of itself.
func (g *guest) checkKernel(report *Report, k Kernel, f *files) {
	if o, ok := g.observed(report, "running release", serial.Release); ok {
		report.Judge("running release", unequal("the release", o.Value, f.release), "%s, %s", o.Value, strings.Join(o.Items, " "))
	}
	if o, ok := g.observed(report, "running machine", serial.Machine); ok {
		processors := g.saw[serial.Processors].Size
		problems := unequal("the machine", o.Value, k.Arch)
		if f.options["CONFIG_SMP"] == "y" && processors != qemu.Processors {
			problems = append(problems, fmt.Sprintf("%d processors: want %d", processors, qemu.Processors))
		}
		report.Judge("running machine", problems, "%s, %d processors", o.Value, processors)
	}
	if f.options["CONFIG_IKCONFIG_PROC"] == "y" {
		if o, ok := g.observed(report, "/proc/config.gz", serial.Config); ok {
			report.Judge("/proc/config.gz", sameFile(o, hexSum(f.config), "the config file"), "%d bytes unpacked, equals the config file", o.Size)
		}
	}
	if f.vmlinux != nil {
		if raw, err := f.vmlinux.BTF(); err == nil {
			if o, ok := g.observed(report, "/sys/kernel/btf", serial.BTF); ok {
				report.Judge("/sys/kernel/btf", sameFile(o, hexSum(raw), ".BTF of vmlinux"), "vmlinux, %d bytes, equals .BTF of the file", o.Size)
			}
		}
		g.checkBuild(report, f)
	}
	if o, ok := g.observed(report, "taint", serial.Taint); ok {
		problems := o.Items
		if o.Error != "" {
			problems = append(problems, o.Error)
		}
		report.Judge("taint", problems, "%s: no warning, no oops", o.Value)
	}
}
