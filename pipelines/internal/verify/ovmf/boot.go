package ovmf

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// started is what the program prints that boots in place of a kernel.
const started = "kata-verify: the firmware has started this program"

// start is one boot: QEMU's arguments, the text that must come over the serial
// line, and the text that must not. Without a good text the firmware must stop
// silently.
type start struct {
	name      string
	args      []string
	good, bad string
}

// boot boots the firmware without a kernel, until its boot manager or its shell prints
// on the serial line, and with a program in place of a kernel.
func (f Firmware) boot(ctx context.Context, r *report.Report, images []image, t *tarball.Tarball, h host.Host) error {
	machine, program, err := h.MachineFor(f.arch)
	if err == nil && slices.ContainsFunc(images, func(i image) bool { return i.data == nil }) {
		err = report.Missing("an image is missing")
	}
	if err != nil {
		r.Result("boot", "", err)
		return nil
	}
	starts, err := f.starts(images[0].data, t)
	if err != nil {
		return fmt.Errorf("preparing the machine: %w", err)
	}
	args := append(machine.Plain(h.Accelerator), flashArgs(images, t)...)
	slowest := time.Duration(0)
	for _, s := range starts {
		h.Note(s.name + " in " + machine.Program)
		once := h
		once.Grace = 0
		if s.good == "" {
			// Silence counts as a stop after several times the duration of a boot.
			once.Timeout = min(h.Timeout, 5*slowest+5*time.Second)
		}
		check, elapsed, err := s.run(ctx, once, program, slices.Concat(args, s.args))
		if err != nil {
			return fmt.Errorf("booting the firmware: %w", err)
		}
		r.Add(check)
		slowest = max(slowest, elapsed)
	}
	return nil
}

// starts returns the boots, and writes the files that they need. Firmware that
// checks the hashes of a kernel finds them where a monitor would put them, which needs
// no SEV: first those of the program, which it must start, then those of another.
func (f Firmware) starts(image []byte, t *tarball.Tarball) ([]start, error) {
	program, err := app(f.arch, started)
	if err != nil {
		return nil, err
	}
	kernel := []string{"-kernel", t.Path("program.efi")}
	starts := []start{{"boot", nil, f.end, started}}
	if !f.hashes {
		starts = append(starts, start{"boot of a kernel", kernel, started, f.end})
		return starts, os.WriteFile(t.Path("program.efi"), program, 0o644)
	}
	var page area
	if table, err := parseTable(image); err == nil {
		page, _ = table.area(hashesBlock)
	}
	if page.size == 0 {
		return starts, nil // A check has reported why.
	}
	// with returns the arguments that load a file into the page.
	with := func(hashes string) []string {
		loader := fmt.Sprintf("loader,file=%s,addr=%#x,force-raw=on", host.Comma(t.Path(hashes)), page.base)
		return append([]string{"-device", loader}, kernel...)
	}
	return append(starts,
			start{"boot of a kernel with its hash", with("hashes"), started, f.end},
			start{"boot of a kernel with no hash", kernel, f.end, started},
			start{"boot of a kernel with another hash", with("other-hashes"), "", started},
		), errors.Join(
			os.WriteFile(t.Path("program.efi"), program, 0o644),
			os.WriteFile(t.Path("hashes"), hashTable(program), 0o644),
			os.WriteFile(t.Path("other-hashes"), hashTable(append(slices.Clone(program), 0)), 0o644),
		)
}

// The GUIDs of the table of hashes and of its entries, as they are stored: for the
// command line, the initrd and the kernel.
var hashGUIDs = []string{
	"\x06\xd6\x38\x94\x22\x4f\xc9\x4c\xb4\x79\xa7\x93\xd4\x11\xfd\x21",
	"\xd8\x2d\xd0\x97\x20\xbd\x94\x4c\xaa\x78\xe7\x71\x4d\x36\xab\x2a",
	"\x31\xf7\xba\x44\x2f\x3a\xd7\x4b\x9a\xf1\x41\xe2\x91\x69\x78\x1d",
	"\x37\x94\xe7\x4d\xd2\xab\x7f\x42\xb8\x35\xd5\xb1\x72\xd2\x04\x5b",
}

// hashTable makes the table that a monitor puts where hashesBlock says, for a
// kernel without initrd and command line.
func hashTable(kernel []byte) []byte {
	const head, entry = 16 + 2, 16 + 2 + sha256.Size
	out := binary.LittleEndian.AppendUint16([]byte(hashGUIDs[0]), head+3*entry)
	for i, data := range [][]byte{{0}, nil, kernel} {
		sum := sha256.Sum256(data)
		out = binary.LittleEndian.AppendUint16(append(out, hashGUIDs[i+1]...), entry)
		out = append(out, sum[:]...)
	}
	return out
}

// run boots until the serial line has one of the two texts.
func (s start) run(ctx context.Context, h host.Host, program string, args []string) (report.Check, time.Duration, error) {
	saw := ""
	result, err := h.Boot(ctx, program, args, func(line string) (over bool) {
		line = plain(line)
		if saw == "" && (s.good != "" && strings.Contains(line, s.good) || strings.Contains(line, s.bad)) {
			saw = line
		}
		return saw != ""
	})
	if err != nil {
		return report.Check{}, 0, err
	}
	took := fmt.Sprintf("%.1f s", result.Elapsed.Seconds())
	silent, want := s.good == "", strconv.Quote(s.good)
	if silent {
		want = "a silent stop"
	}
	check := report.Check{Name: s.name, Verdict: report.Failed}
	switch {
	case silent && saw == "" && result.Ending == host.Hang:
		check.Verdict = report.Passed
		check.Saw = fmt.Sprintf("it stops: no %q in %s (%s)", s.bad, took, h.Accelerator)
	case !silent && strings.Contains(saw, s.good):
		check.Verdict = report.Passed
		check.Saw = fmt.Sprintf("%q on the serial line after %s (%s)", saw, took, h.Accelerator)
	case saw != "":
		check.Saw = fmt.Sprintf("%q on the serial line after %s: want %s", saw, took, want)
	case result.Ending == host.Refused:
		check.Saw = "QEMU failed: " + result.Stderr
	case result.Ending == host.Hang:
		check.Saw = fmt.Sprintf("no known text on the serial line within %s: want %s", took, want)
	default:
		check.Saw = fmt.Sprintf("the machine powered off after %s: want %s", took, want)
	}
	if check.Verdict == report.Failed {
		for _, line := range result.Tail {
			check.Console = append(check.Console, plain(line))
		}
	}
	return check, result.Elapsed, nil
}

// flashArgs returns the arguments that put the images into a machine. One image replaces
// the machine's own firmware; of two the first is code, which the guest cannot write.
func flashArgs(images []image, t *tarball.Tarball) (args []string) {
	if len(images) == 1 {
		return []string{"-bios", t.Path(images[0].path)}
	}
	for n, readOnly := range []string{"on", "off"} {
		file := host.Comma(t.Path(images[n].path))
		args = append(args, "-drive", fmt.Sprintf("if=pflash,unit=%d,format=raw,readonly=%s,file=%s", n, readOnly, file))
	}
	return args
}

// escapes are the terminal's control sequences, with which the firmware draws.
var escapes = regexp.MustCompile("\x1b\\[[0-9;=?]*[A-Za-z]")

// plain returns a line without control sequences.
func plain(line string) string { return strings.TrimSpace(escapes.ReplaceAllString(line, "")) }
