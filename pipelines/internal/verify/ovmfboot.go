package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/efiapp"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/ovmftable"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qemu"
)

// started is what the program says that stands in for a kernel.
const started = "kata-verify: the firmware has started this program"

// start is one boot: what a machine gets beside the firmware, the text of the
// serial line that it must come to, and the one that it must not come to. A good
// text of "" is for firmware that must stop without a word.
type start struct {
	name      string
	args      []string
	good, bad string
}

// firmware boots a firmware in QEMU: with nothing to start, until its boot
// manager or its shell says so on the serial line, and with a program in place
// of a kernel.
func (b Boot) firmware(ctx context.Context, report *Report, o OVMF, known firmware, images []image, dir string) error {
	machine, ok := qemu.ForArch(o.Arch)
	missing := slices.ContainsFunc(images, func(i image) bool { return i.data == nil })
	switch {
	case b.Skip != "":
		report.Skip("boot", "%s", b.Skip)
		return nil
	case !ok || missing:
		report.Skip("boot", "no firmware or no machine of QEMU for %s to boot", o.Arch)
		return nil
	}
	program := ""
	if path, err := b.LookPath(machine.Program); err == nil {
		program = path
	}
	if program == "" {
		report.Skip("boot", "no %s on this machine: apt-get install %s", machine.Program, machine.Package)
		return nil
	}
	starts, err := known.starts(o.Arch, images[0], dir)
	if err != nil {
		return fmt.Errorf("preparing the machine: %w", err)
	}
	args := flashArgs(machine, b.Accelerator, images)
	limit, slowest := b.Timeout, time.Duration(0)
	for _, s := range starts {
		b.Note(s.name + " in " + machine.Program)
		s.args = append(slices.Clone(args), s.args...)
		if b.Timeout = limit; s.good == "" {
			// Silence is believed after several times what a boot takes here.
			b.Timeout = min(limit, 5*slowest+5*time.Second)
		}
		elapsed, err := b.until(ctx, report, program, s)
		if err != nil {
			return fmt.Errorf("booting the firmware: %w", err)
		}
		slowest = max(slowest, elapsed)
	}
	return nil
}

// starts are the boots of a firmware; dir gets the files they need. Firmware that
// wants hashes of a kernel gets them where a monitor would put them, which takes
// no SEV: those of the program, which it must start, and those of another one.
func (f firmware) starts(arch string, first image, dir string) ([]start, error) {
	app, err := efiapp.Build(arch, started)
	if err != nil {
		return nil, err
	}
	kernel := filepath.Join(dir, "program.efi")
	if err := os.WriteFile(kernel, app, 0o644); err != nil {
		return nil, err
	}
	starts := []start{{"boot", nil, f.end, started}}
	if !f.hashes {
		return append(starts, start{"boot of a kernel", []string{"-kernel", kernel}, started, f.end}), nil
	}
	area, ok := hashesArea(first.data)
	if !ok {
		// A check has said that the table is broken.
		return starts, nil
	}
	hashed := func(name string, of []byte) ([]string, error) {
		path := filepath.Join(dir, name)
		return []string{"-kernel", kernel, "-device", fmt.Sprintf("loader,file=%s,addr=%#x,force-raw=on", comma(path), area.Base)},
			os.WriteFile(path, ovmftable.Hashes("", nil, of), 0o644)
	}
	right, err := hashed("hashes", app)
	if err != nil {
		return nil, err
	}
	wrong, err := hashed("other-hashes", append(slices.Clone(app), 0))
	return append(starts,
		start{"boot of a kernel with its hash", right, started, f.end},
		start{"boot of a kernel with no hash", []string{"-kernel", kernel}, f.end, started},
		start{"boot of a kernel with another hash", wrong, "", started},
	), err
}

// hashesArea is where the hashes of a kernel are put.
func hashesArea(image []byte) (ovmftable.Area, bool) {
	table, err := ovmftable.Parse(image)
	if err != nil {
		return ovmftable.Area{}, false
	}
	area, err := table.Area(ovmftable.HashesBlock)
	return area, err == nil && area.Size > 0
}

// comma doubles the commas of a path: a single one would begin a property.
func comma(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// until boots until the serial line has one of the two texts.
func (b Boot) until(ctx context.Context, report *Report, program string, s start) (time.Duration, error) {
	var saw string
	run := qemu.Boot{
		Program: program, Args: s.args, Timeout: b.Timeout,
		Watch: func(line string) bool {
			line = plain(line)
			if saw == "" && (s.good != "" && strings.Contains(line, s.good) || strings.Contains(line, s.bad)) {
				saw = line
			}
			return saw != ""
		},
	}
	result, err := run.Run(ctx)
	if err != nil {
		return 0, err
	}
	elapsed := result.Elapsed.Seconds()
	check := Check{Name: s.name, Verdict: Failed}
	for _, line := range result.Tail {
		check.Console = append(check.Console, plain(line))
	}
	switch {
	case s.good == "" && saw == "" && result.Ending == qemu.Hang:
		check = Check{Name: s.name, Verdict: Passed, Saw: fmt.Sprintf("it stops: no %q in %.1f s (%s)", s.bad, elapsed, b.Accelerator)}
	case s.good != "" && strings.Contains(saw, s.good):
		check = Check{Name: s.name, Verdict: Passed, Saw: fmt.Sprintf("%q on the serial line after %.1f s (%s)", saw, elapsed, b.Accelerator)}
	case saw != "":
		check.Saw = fmt.Sprintf("%q on the serial line after %.1f s: want %s", saw, elapsed, s.want())
	case result.Ending == qemu.Refused:
		check.Saw = "QEMU failed: " + result.Stderr
	case result.Ending == qemu.Hang:
		check.Saw = fmt.Sprintf("nothing known on the serial line in %.0f s: want %s", elapsed, s.want())
	default:
		check.Saw = fmt.Sprintf("the machine went off after %.1f s: want %s", elapsed, s.want())
	}
	report.Add(check)
	return result.Elapsed, nil
}

// want is the good end of a boot, for a person.
func (s start) want() string {
	if s.good == "" {
		return "a stop without a word"
	}
	return strconv.Quote(s.good)
}

// flashArgs are QEMU's arguments for a machine with nothing but firmware. One
// image stands in for the machine's own; of two the first is code, which the
// guest cannot write.
func flashArgs(m qemu.Machine, accelerator string, images []image) []string {
	const memory = 1024
	args := append(slices.Clone(m.Model), "-accel", accelerator, "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio")
	if len(images) == 1 {
		return append(args, "-bios", images[0].path)
	}
	for n, i := range images {
		readOnly := "off"
		if n == 0 {
			readOnly = "on"
		}
		args = append(args, "-drive", fmt.Sprintf("if=pflash,unit=%d,format=raw,readonly=%s,file=%s", n, readOnly, comma(i.path)))
	}
	return args
}

// escapes are what a terminal takes for orders: the firmware draws its screen.
var escapes = regexp.MustCompile("\x1b\\[[0-9;=?]*[A-Za-z]")

// plain is a line without what moves the cursor.
func plain(line string) string { return strings.TrimSpace(escapes.ReplaceAllString(line, "")) }
