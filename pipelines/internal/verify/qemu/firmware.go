package qemu

import (
	"debug/elf"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// checkFirmware checks firmware whose format says whether it is complete.
func (e Emulator) checkFirmware(r *report.Report, t *tarball.Tarball) error {
	if len(e.firmware) == 0 {
		r.Skip("firmware", "the list has none")
		return nil
	}
	var problems, seen []string
	for _, firmware := range e.firmware {
		data, err := t.Read(e.folder() + "/" + firmware.name)
		if err != nil {
			return err
		}
		if data == nil {
			problems = append(problems, firmware.name+" is not in the tarball")
			continue
		}
		format, why := firmwareFormat(data)
		if why != "" {
			problems = append(problems, firmware.name+": "+why)
		}
		seen = append(seen, firmware.name+": "+format)
	}
	r.Judge("firmware", problems, "%s", strings.Join(seen, "\n"))
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
