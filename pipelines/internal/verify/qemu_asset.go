package verify

import (
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/emulator"
)

// QEMU is what the tree says of an emulator that guests run in.
type QEMU struct {
	// Asset is its name, Arch its architecture as `uname -m` prints it.
	Asset, Arch string
	// Version is the pin: "v10.2.2", or the tag of a fork, which says nothing of
	// the number that the program prints.
	Version string
	// Suffix ends the names of program and firmware folder, "" for the plain one.
	Suffix string
	// Devices and Firmware are its lists.
	Devices  emulator.Devices
	Firmware []emulator.Firmware
}

// NewQEMU reads the lists of an emulator, devices/ARCH.list and firmware/ARCH.list
// in the folder of its family; content returns a file of the tree. The version is
// the value of its pin, and the suffix its option QEMU_SUFFIX.
func NewQEMU(asset, arch, folder, version, suffix string, content func(path string) ([]byte, error)) (QEMU, error) {
	q := QEMU{Asset: asset, Arch: arch, Version: version, Suffix: suffix}
	devices, firmware := folder+"/devices/"+arch+".list", folder+"/firmware/"+arch+".list"
	data, err := content(devices)
	if err != nil {
		return q, fmt.Errorf("the list of devices: %w", err)
	}
	if q.Devices, err = emulator.ParseDevices(devices, data); err != nil {
		return q, err
	}
	if data, err = content(firmware); err != nil {
		return q, fmt.Errorf("the list of firmware: %w", err)
	}
	q.Firmware, err = emulator.ParseFirmware(firmware, data)
	return q, err
}

// Verify looks at the tarball of an emulator: inspects the program, has it print
// what it has, and makes machines with every device. Where the program does not
// run on this machine, what needs it is skipped. The error is for what is no
// tarball, and for a machine on which nothing can be verified.
func (q QEMU) Verify(ctx context.Context, tarball string, run Emulation) (*Report, error) {
	dir, err := os.MkdirTemp("", "kata-verify-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the emulator: %w", err)
	}
	defer os.RemoveAll(dir)
	members, err := q.unpack(tarball, dir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", tarball, err)
	}
	report := &Report{Asset: q.Asset, Arch: q.Arch, Tarball: tarball}
	q.checkMembers(report, members)
	if err := q.checkFirmware(report, dir); err != nil {
		return nil, err
	}
	runs, err := q.checkProgram(report, filepath.Join(dir, q.program()))
	if err != nil || !runs {
		return report, err
	}
	return report, run.check(ctx, report, q, dir)
}

// emulatorTarget is what QEMU and ELF files call an architecture.
type emulatorTarget struct {
	arch, target string
	machine      elf.Machine
}

var emulators = []emulatorTarget{
	{"x86_64", "x86_64", elf.EM_X86_64},
	{"aarch64", "aarch64", elf.EM_AARCH64},
	{"s390x", "s390x", elf.EM_S390},
	{"ppc64le", "ppc64", elf.EM_PPC64},
}

func (q QEMU) suffix() string {
	if q.Suffix == "" {
		return ""
	}
	return "-" + q.Suffix
}

// program is the path of the emulator in the tarball.
func (q QEMU) program() string {
	target := q.Arch
	for _, e := range emulators {
		if e.arch == q.Arch {
			target = e.target
		}
	}
	return "opt/kata/bin/qemu-system-" + target + q.suffix()
}

// folder is that of the firmware in the tarball.
func (q QEMU) folder() string { return "opt/kata/share/kata-qemu" + q.suffix() + "/qemu" }

// wanted are the files of the tarball and their modes.
func (q QEMU) wanted() map[string]fs.FileMode {
	files := map[string]fs.FileMode{q.program(): 0o755}
	for _, firmware := range q.Firmware {
		files[q.folder()+"/"+firmware.Name] = 0o644
	}
	return files
}

// unpack lists the tarball and puts its files below dir, at their paths.
func (q QEMU) unpack(tarball, dir string) ([]archive.Member, error) {
	const maxFile = 1 << 30
	file, err := os.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	wanted := q.wanted()
	return archive.Extract(file, func(name string, size int64) (string, error) {
		if _, ours := wanted[strings.TrimPrefix(name, "./")]; !ours {
			return "", nil
		}
		if size > maxFile {
			return "", fmt.Errorf("it has %d bytes: a file of QEMU has less than %d", size, int64(maxFile))
		}
		path := filepath.Join(dir, name)
		return path, os.MkdirAll(filepath.Dir(path), 0o755)
	})
}
