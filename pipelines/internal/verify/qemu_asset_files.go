package verify

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// checkMembers holds the members of the tarball against the program and the list
// of firmware, no more and no less.
func (q QEMU) checkMembers(report *Report, members []archive.Member) {
	wanted := q.wanted()
	found := map[string]bool{}
	var problems []string
	for _, m := range members {
		name := strings.Trim(strings.TrimPrefix(m.Name, "./"), "/")
		mode, ours := wanted[name]
		switch {
		case m.Mode.IsDir() && leads(name, wanted):
		case !ours:
			problems = append(problems, fmt.Sprintf("%s does not belong to the asset", m.Name))
		case m.Mode != mode:
			problems = append(problems, fmt.Sprintf("%s has mode %s: want %s", m.Name, m.Mode, mode))
		case m.Size == 0:
			problems = append(problems, fmt.Sprintf("%s is empty", m.Name))
		}
		found[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if !found[name] {
			problems = append(problems, fmt.Sprintf("./%s is missing", name))
		}
	}
	report.Judge("members", problems, "%s, and %d files in %s", q.program(), len(q.Firmware), q.folder())
}

// leads says whether a folder leads to one of the files.
func leads(folder string, files map[string]fs.FileMode) bool {
	for file := range files {
		if strings.HasPrefix(file, folder+"/") {
			return true
		}
	}
	return false
}

// checkFirmware looks at firmware whose format says whether it is whole.
func (q QEMU) checkFirmware(report *Report, dir string) error {
	if len(q.Firmware) == 0 {
		report.Skip("firmware", "the list has none")
		return nil
	}
	var problems, seen []string
	for _, firmware := range q.Firmware {
		data, err := optional(filepath.Join(dir, q.folder(), firmware.Name))
		if err != nil {
			return err
		}
		if data == nil {
			problems = append(problems, firmware.Name+" is not in the tarball")
			continue
		}
		format, why := firmwareFormat(data)
		if why != "" {
			problems = append(problems, firmware.Name+": "+why)
		}
		seen = append(seen, firmware.Name+": "+format)
	}
	report.Judge("firmware", problems, "%s", strings.Join(seen, "\n"))
	return nil
}

// firmwareFormat says what firmware is by its content, and what is wrong with it.
func firmwareFormat(data []byte) (format, why string) {
	const sector, legacyEntry = 512, 16
	switch {
	case len(data) > sector && data[0] == 0x55 && data[1] == 0xaa:
		// Byte 2 is the size of the image in sectors, whose bytes add up to 0.
		size := int(data[2]) * sector
		if size == 0 || size > len(data) {
			return "", fmt.Sprintf("an option ROM of %d bytes that says it has %d", len(data), size)
		}
		var sum byte
		for _, b := range data[:size] {
			sum += b
		}
		if sum != 0 {
			return "", "an option ROM with a wrong checksum"
		}
		return fmt.Sprintf("option ROM, %d bytes", size), ""
	case strings.HasPrefix(string(data), elf.ELFMAG):
		return fmt.Sprintf("ELF, %d bytes", len(data)), ""
	case len(data) >= 64<<10 && data[len(data)-legacyEntry] == 0xea:
		return fmt.Sprintf("BIOS with a reset vector, %d bytes", len(data)), ""
	case strings.Trim(string(data), "\x00") == "":
		return "", "nothing but zeros"
	}
	return fmt.Sprintf("%d bytes", len(data)), ""
}

// checkProgram inspects the emulator, and says whether it is one for q.Arch.
func (q QEMU) checkProgram(report *Report, path string) (ours bool, err error) {
	file, err := elf.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		report.Skip("program", "it is not in the tarball")
		return false, nil
	}
	var broken *elf.FormatError
	if errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		report.Fail("program", "it is no ELF file: %v", err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	if err := os.Chmod(path, 0o755); err != nil {
		return false, err
	}
	i := slices.IndexFunc(emulators, func(e emulatorTarget) bool { return e.arch == q.Arch })
	if i < 0 || file.Machine != emulators[i].machine {
		report.Fail("program", "it is a program for %s: want one for %s", file.Machine, q.Arch)
		return false, nil
	}
	problems, saw := inspect(file)
	report.Judge("program", problems, "%s", saw)
	return true, nil
}

// inspect says what keeps an executable from being static and hardened.
func inspect(file *elf.File) (problems []string, saw string) {
	stack, relro := false, false
	for _, segment := range file.Progs {
		switch segment.Type {
		case elf.PT_INTERP:
			problems = append(problems, "it has an interpreter: it is not static")
		case elf.PT_GNU_STACK:
			stack = true
			if segment.Flags&elf.PF_X != 0 {
				problems = append(problems, "its stack is executable")
			}
		case elf.PT_GNU_RELRO:
			relro = true
		}
	}
	if !stack {
		problems = append(problems, "it does not say that its stack is not executable")
	}
	if !relro {
		problems = append(problems, "nothing of it is made read-only after it is loaded")
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		problems = append(problems, fmt.Sprintf("its dynamic section: %v", err))
	}
	if len(libraries) > 0 {
		problems = append(problems, "it needs "+strings.Join(libraries, ", ")+": it is not static")
	}
	if file.Section(".symtab") != nil {
		problems = append(problems, "it has symbols: it is not stripped")
	}
	kind := "at a fixed address"
	if file.Type == elf.ET_DYN {
		kind = "position independent"
	}
	return problems, fmt.Sprintf("%s, static and stripped, no interpreter and no libraries, %s", file.Machine, kind)
}
