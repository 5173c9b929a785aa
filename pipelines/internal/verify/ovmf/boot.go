package ovmf

import (
	"context"
	"crypto/sha256"
	"debug/pe"
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

// program and ends are what comes over the serial line if the firmware starts the program,
// and if it finds nothing to start: it starts its shell, or asks for a key where it has
// none. Since edk2-stable202508 it also asks where it has one.
var program, ends = []string{started}, []string{shellText, managerText}

// start is one boot: QEMU's arguments, the texts of which one must come over the serial
// line, and those that must not. Without a good text the firmware must stop
// silently.
type start struct {
	name      string
	args      []string
	good, bad []string
}

// boot boots the firmware without a kernel, until its boot manager or its shell prints
// on the serial line, and with a program in place of a kernel.
func (f Firmware) boot(ctx context.Context, r *report.Report, images []image, t *tarball.Tarball, h host.Host) error {
	machine, qemu, err := h.MachineFor(f.arch)
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
		if s.good == nil {
			// Silence counts as a stop after several times the duration of a boot.
			once.Timeout = min(h.Timeout, 5*slowest+5*time.Second)
		}
		check, elapsed, err := s.run(ctx, once, qemu, slices.Concat(args, s.args))
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
	file, err := app(f.arch, started)
	if err != nil {
		return nil, err
	}
	kernel := []string{"-kernel", t.Path("program.efi")}
	starts := []start{{"boot", nil, ends, program}}
	if !f.hashes {
		starts = append(starts, start{"boot of a kernel", kernel, program, ends})
		return starts, os.WriteFile(t.Path("program.efi"), file, 0o644)
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
			start{"boot of a kernel with its hash", with("hashes"), program, ends},
			start{"boot of a kernel with no hash", kernel, ends, program},
			start{"boot of a kernel with another hash", with("other-hashes"), nil, program},
		), errors.Join(
			os.WriteFile(t.Path("program.efi"), file, 0o644),
			os.WriteFile(t.Path("hashes"), hashTable(file), 0o644),
			os.WriteFile(t.Path("other-hashes"), hashTable(append(slices.Clone(file), 0)), 0o644),
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
		if saw == "" && (has(line, s.good) || has(line, s.bad)) {
			saw = line
		}
		return saw != ""
	})
	if err != nil {
		return report.Check{}, 0, err
	}
	took := fmt.Sprintf("%.1f s", result.Elapsed.Seconds())
	silent, want := s.good == nil, quoted(s.good)
	if silent {
		want = "a silent stop"
	}
	check := report.Check{Name: s.name, Verdict: report.Failed}
	switch {
	case silent && saw == "" && result.Ending == host.Hang:
		check.Verdict = report.Passed
		check.Saw = fmt.Sprintf("it stops: no %s in %s (%s)", quoted(s.bad), took, h.Accelerator)
	case !silent && has(saw, s.good):
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

// has reports whether a line has one of the texts.
func has(line string, texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) })
}

func quoted(texts []string) string {
	list := make([]string, len(texts))
	for i, text := range texts {
		list[i] = strconv.Quote(text)
	}
	return strings.Join(list, " or ")
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

// appMachine is what a UEFI program is made of for an architecture.
type appMachine struct {
	// coff is its number in the header.
	coff uint16
	// code calls OutputString of the system table's console with the text that
	// follows it, and returns no error.
	code []byte
}

var appMachines = map[string]appMachine{
	"x86_64": {pe.IMAGE_FILE_MACHINE_AMD64, []byte{
		0x48, 0x83, 0xec, 0x28, // sub rsp, 40
		0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx+64]: ConOut
		0x48, 0x8d, 0x15, 0x0a, 0, 0, 0, // lea rdx, [rip+10]: the text
		0xff, 0x51, 0x08, // call [rcx+8]
		0x48, 0x83, 0xc4, 0x28, // add rsp, 40
		0x31, 0xc0, // xor eax, eax
		0xc3, // ret
	}},
	"aarch64": {pe.IMAGE_FILE_MACHINE_ARM64, []byte{
		0xfd, 0x7b, 0xbf, 0xa9, // stp x29, x30, [sp, #-16]!
		0x20, 0x20, 0x40, 0xf9, // ldr x0, [x1, #64]: ConOut
		0xc1, 0x00, 0x00, 0x10, // adr x1, #24: the text
		0x02, 0x04, 0x40, 0xf9, // ldr x2, [x0, #8]
		0x40, 0x00, 0x3f, 0xd6, // blr x2
		0xfd, 0x7b, 0xc1, 0xa8, // ldp x29, x30, [sp], #16
		0x00, 0x00, 0x80, 0xd2, // mov x0, #0
		0xc0, 0x03, 0x5f, 0xd6, // ret
	}},
}

const (
	peHeaders = 0x200
	pePage    = 0x1000
)

// appFile is a program for UEFI: headers, and one section of a page.
type appFile struct {
	DOS [0x20]byte
	// QEMU before version 9.1 writes the address of the command line into what it
	// takes for the header of an old kernel. The file has that address already, so
	// that the firmware gets the bytes of the file.
	CommandLine [4]byte
	_           [0x18]byte
	PEOffset    uint32
	PE          [4]byte
	Header      pe.FileHeader
	Optional    pe.OptionalHeader64
	Section     pe.SectionHeader32
	_           [peHeaders - 0x170]byte
	Code        [pePage]byte
}

// app makes a program for UEFI that prints the text on a line of its own and ends.
// Firmware that starts it would also start a kernel.
func app(arch, text string) ([]byte, error) {
	m, known := appMachines[arch]
	if !known {
		return nil, fmt.Errorf("no UEFI program is known for %s", arch)
	}
	file := appFile{
		DOS: [0x20]byte{'M', 'Z'}, CommandLine: [4]byte{0x3f, 0xa3, 0xf0, 0x9f}, PEOffset: 0x40, PE: [4]byte{'P', 'E'},
		Header: pe.FileHeader{
			Machine: m.coff, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
			Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE,
		},
		Optional: pe.OptionalHeader64{
			Magic: 0x20b, SizeOfCode: pePage, AddressOfEntryPoint: pePage, BaseOfCode: pePage,
			SectionAlignment: pePage, FileAlignment: peHeaders, SizeOfImage: 2 * pePage, SizeOfHeaders: peHeaders,
			Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION, NumberOfRvaAndSizes: 16, // all empty
		},
		Section: pe.SectionHeader32{
			Name: [8]byte{'.', 't', 'e', 'x', 't'}, VirtualSize: pePage, VirtualAddress: pePage,
			SizeOfRawData: pePage, PointerToRawData: peHeaders,
			Characteristics: pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_EXECUTE | pe.IMAGE_SCN_MEM_READ,
		},
	}
	code := append(slices.Clone(m.code), wide("\r\n"+text+"\r\n\x00")...)
	if copy(file.Code[:], code) < len(code) {
		return nil, fmt.Errorf("the text has %d characters: too many", len(text))
	}
	return binary.Append(nil, binary.LittleEndian, file)
}
