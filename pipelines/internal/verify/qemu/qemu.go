// Package qemu verifies a QEMU that is built for Kata: the tarball has the program and
// the firmware that the lists of its family require, and the program has the devices of
// the lists, has no others that widen the attack surface, and makes machines with them.
package qemu

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Emulator is a QEMU of the tree.
type Emulator struct {
	arch, version, suffix string
	required              list
	// firmware are names of files.
	firmware []string
}

// New reads the lists of an emulator, devices/ARCH.list and firmware/ARCH.list in
// the folder of its family. Its version is the pin: "v10.2.2", or the tag of a fork,
// which says nothing about the version that the program prints. The suffix ends the
// names of program and firmware folder.
func New(tree fs.FS, folder, arch, version, suffix string) (Emulator, error) {
	e := Emulator{arch: arch, version: version}
	if suffix != "" {
		e.suffix = "-" + suffix
	}
	var err error
	if e.required, err = parseDevices(tree, folder+"/devices/"+arch+".list"); err != nil {
		return e, fmt.Errorf("the list of devices: %w", err)
	}
	e.required["-accel"] = []string{"kvm"}
	if e.firmware, err = parseFirmware(tree, folder+"/firmware/"+arch+".list"); err != nil {
		return e, fmt.Errorf("the list of firmware: %w", err)
	}
	return e, nil
}

// program is the path of the emulator in the tarball, and folder that of its
// firmware.
func (e Emulator) program() string {
	target := e.arch
	if target == "ppc64le" {
		target = "ppc64"
	}
	return "opt/kata/bin/qemu-system-" + target + e.suffix
}

func (e Emulator) folder() string { return "opt/kata/share/kata-qemu" + e.suffix + "/qemu" }

// Layout has the program and the firmware of the list.
func (e Emulator) Layout() tarball.Layout {
	layout := tarball.Layout{e.program(): {Mode: 0o755, Max: 1 << 30}}
	for _, name := range e.firmware {
		layout[e.folder()+"/"+name] = tarball.File{Mode: 0o644}
	}
	return layout
}

// Checks are those of the files and of the program, and one for each machine.
func (e Emulator) Checks() []string {
	names := append([]string{"members", "firmware", "program"}, programChecks...)
	machines, _ := e.machines()
	for _, m := range machines {
		names = append(names, m.title())
	}
	return append(names, "devices of the host")
}

// Check inspects the program, compares what it prints with the lists, and makes
// machines with every device. What needs the program to run is skipped on another
// architecture.
func (e Emulator) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	e.Layout().Check(r, t, fmt.Sprintf("%s, and %d files in %s", e.program(), len(e.firmware), e.folder()))
	r.Run("firmware", func() (string, error) { return e.checkFirmware(t) })
	x := &run{e, r, t, h}
	if _, err := t.Program(e.program(), e.arch); err != nil {
		r.Result("program", "", err)
		x.skip("there is no program for " + x.arch + " to run")
		return nil
	}
	r.Result("program", "for "+e.arch, nil)
	return x.check(ctx)
}

// checkFirmware checks firmware whose format says whether it is complete.
func (e Emulator) checkFirmware(t *tarball.Tarball) (saw string, problems error) {
	if len(e.firmware) == 0 {
		return "", report.Missing("the list has none")
	}
	for _, name := range e.firmware {
		format, err := firmwareFormat(t.Read(e.folder() + "/" + name))
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("%s: %w", name, err))
		}
		saw += name + ": " + format + "\n"
	}
	return strings.TrimSpace(saw), problems
}

// firmwareFormat returns the format of firmware by its content.
func firmwareFormat(data []byte) (format string, err error) {
	const sector, resetVector = 512, 16
	jump := func(b byte) bool { return b == 0xea || b == 0xe9 } // Far in SeaBIOS, near in qboot.
	switch {
	case data == nil:
		return "", errors.New("it is not in the tarball")
	case len(data) > sector && data[0] == 0x55 && data[1] == 0xaa:
		// Byte 2 is the size of the image in sectors, whose bytes add up to 0.
		size := int(data[2]) * sector
		if size == 0 || size > len(data) {
			return "", fmt.Errorf("an option ROM of %d bytes that says it has %d", len(data), size)
		}
		var sum byte
		for _, b := range data[:size] {
			sum += b
		}
		if sum != 0 {
			return "", errors.New("an option ROM with a wrong checksum")
		}
		return fmt.Sprintf("option ROM, %d bytes", size), nil
	case strings.HasPrefix(string(data), elf.ELFMAG):
		return fmt.Sprintf("ELF, %d bytes", len(data)), nil
	case len(data) >= 64<<10 && jump(data[len(data)-resetVector]):
		return fmt.Sprintf("BIOS with a reset vector, %d bytes", len(data)), nil
	case strings.Trim(string(data), "\x00") == "":
		return "", errors.New("only zeros")
	}
	return fmt.Sprintf("%d bytes", len(data)), nil
}
