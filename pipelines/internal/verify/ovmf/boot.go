package ovmf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// started is what the program prints that takes the place of a kernel.
const started = "kata-verify: the firmware has started this program"

// start is one boot: QEMU's arguments, the text that must come over the serial
// line, and the one that must not. Without a good text the firmware must stop
// silently.
type start struct {
	name      string
	args      []string
	good, bad string
}

// boot boots the firmware without a kernel, until its boot manager or its shell
// says so on the serial line, and with a program in place of a kernel.
func (f Firmware) boot(ctx context.Context, r *report.Report, images []image, dir string, h host.Host) error {
	if h.Skip != "" {
		r.Skip("boot", "%s", h.Skip)
		return nil
	}
	machine, program, err := h.MachineFor(f.arch)
	if err == nil && slices.ContainsFunc(images, func(i image) bool { return i.data == nil }) {
		err = report.Missing("an image is missing")
	}
	var missing report.Missing
	if errors.As(err, &missing) {
		r.Skip("boot", "%s", missing)
		return nil
	}
	starts, err := f.starts(images[0].data, dir)
	if err != nil {
		return fmt.Errorf("preparing the machine: %w", err)
	}
	args := append(machine.Plain(h.Accelerator), flashArgs(images)...)
	slowest := time.Duration(0)
	for _, s := range starts {
		h.Note(s.name + " in " + machine.Program)
		run := host.Boot{Program: program, Args: slices.Concat(args, s.args), Timeout: h.Timeout}
		if s.good == "" {
			// A silent stop is believed after several times what a boot takes here.
			run.Timeout = min(h.Timeout, 5*slowest+5*time.Second)
		}
		check, elapsed, err := s.run(ctx, run, h.Accelerator)
		if err != nil {
			return fmt.Errorf("booting the firmware: %w", err)
		}
		r.Add(check)
		slowest = max(slowest, elapsed)
	}
	return nil
}

// starts returns the boots, and writes the files that they need to dir. Firmware
// that wants hashes of a kernel gets them where a monitor would put them, which
// needs no SEV: those of the program, which it must start, and those of another.
func (f Firmware) starts(image []byte, dir string) ([]start, error) {
	program, err := app(f.arch, started)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "program.efi")
	if err := os.WriteFile(path, program, 0o644); err != nil {
		return nil, err
	}
	kernel := []string{"-kernel", path}
	starts := []start{{"boot", nil, f.end, started}}
	if !f.hashes {
		return append(starts, start{"boot of a kernel", kernel, started, f.end}), nil
	}
	page, ok := hashesPage(image)
	if !ok {
		return starts, nil // A check has reported the table.
	}
	right, err := hashed(dir, "hashes", page, program)
	if err != nil {
		return nil, err
	}
	wrong, err := hashed(dir, "other-hashes", page, append(slices.Clone(program), 0))
	return append(starts,
		start{"boot of a kernel with its hash", append(right, kernel...), started, f.end},
		start{"boot of a kernel with no hash", kernel, f.end, started},
		start{"boot of a kernel with another hash", append(wrong, kernel...), "", started},
	), err
}

// hashesPage is where the hashes of a kernel are put.
func hashesPage(image []byte) (area, bool) {
	table, err := parseTable(image)
	if err != nil {
		return area{}, false
	}
	page, err := table.area(hashesBlock)
	return page, err == nil && page.size > 0
}

// hashed writes the hashes of a kernel to a file in dir, and returns the arguments
// that load it into a page of the guest's memory.
func hashed(dir, name string, page area, kernel []byte) ([]string, error) {
	path := filepath.Join(dir, name)
	return []string{"-device", fmt.Sprintf("loader,file=%s,addr=%#x,force-raw=on", host.Comma(path), page.base)},
		os.WriteFile(path, hashTable(kernel), 0o644)
}

// screen waits for one of the two texts of a start on the serial line.
type screen struct {
	start
	saw string
}

// line takes a line of the serial line.
func (s *screen) line(line string) bool {
	line = plain(line)
	if s.saw == "" && (s.good != "" && strings.Contains(line, s.good) || strings.Contains(line, s.bad)) {
		s.saw = line
	}
	return s.saw != ""
}

// run boots until the serial line has one of the two texts.
func (s start) run(ctx context.Context, boot host.Boot, accelerator string) (report.Check, time.Duration, error) {
	screen := screen{start: s}
	result, err := boot.Run(ctx, screen.line)
	if err != nil {
		return report.Check{}, 0, err
	}
	elapsed := result.Elapsed.Seconds()
	check := report.Check{Name: s.name, Verdict: report.Failed}
	want := strconv.Quote(s.good)
	if s.good == "" {
		want = "a silent stop"
	}
	switch {
	case s.good == "" && screen.saw == "" && result.Ending == host.Hang:
		check.Verdict, check.Saw = report.Passed, fmt.Sprintf("it stops: no %q in %.1f s (%s)", s.bad, elapsed, accelerator)
	case s.good != "" && strings.Contains(screen.saw, s.good):
		check.Verdict, check.Saw = report.Passed, fmt.Sprintf("%q on the serial line after %.1f s (%s)", screen.saw, elapsed, accelerator)
	case screen.saw != "":
		check.Saw = fmt.Sprintf("%q on the serial line after %.1f s: want %s", screen.saw, elapsed, want)
	case result.Ending == host.Refused:
		check.Saw = "QEMU failed: " + result.Stderr
	case result.Ending == host.Hang:
		check.Saw = fmt.Sprintf("nothing known on the serial line in %.0f s: want %s", elapsed, want)
	default:
		check.Saw = fmt.Sprintf("the machine powered off after %.1f s: want %s", elapsed, want)
	}
	if check.Verdict == report.Failed {
		for _, line := range result.Tail {
			check.Console = append(check.Console, plain(line))
		}
	}
	return check, result.Elapsed, nil
}

// flashArgs puts the images into a machine. One image replaces the machine's own
// firmware; of two the first is code, which the guest cannot write.
func flashArgs(images []image) []string {
	if len(images) == 1 {
		return []string{"-bios", images[0].path}
	}
	var args []string
	for n, i := range images {
		readOnly := "off"
		if n == 0 {
			readOnly = "on"
		}
		args = append(args, "-drive", fmt.Sprintf("if=pflash,unit=%d,format=raw,readonly=%s,file=%s", n, readOnly, host.Comma(i.path)))
	}
	return args
}

// escapes are the terminal's control sequences: the firmware draws its screen.
var escapes = regexp.MustCompile("\x1b\\[[0-9;=?]*[A-Za-z]")

// plain is a line without control sequences.
func plain(line string) string { return strings.TrimSpace(escapes.ReplaceAllString(line, "")) }
