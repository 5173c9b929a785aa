package payload

import (
	"debug/elf"
	"fmt"
	"slices"
)

// machine is what the ELF files of an architecture say of themselves.
type machine struct {
	machine elf.Machine
	data    elf.Data
}

var machines = map[string]machine{
	"amd64":   {elf.EM_X86_64, elf.ELFDATA2LSB},
	"arm64":   {elf.EM_AARCH64, elf.ELFDATA2LSB},
	"s390x":   {elf.EM_S390, elf.ELFDATA2MSB},
	"ppc64le": {elf.EM_PPC64, elf.ELFDATA2LSB},
	"riscv64": {elf.EM_RISCV, elf.ELFDATA2LSB},
}

// CheckInstaller refuses what an image of an architecture could not run: a program of
// another one, and one that needs a loader, which no image has.
func CheckInstaller(path, goarch string) error {
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("the installer %s: want a static program for %s: %w", path, goarch, err)
	}
	defer file.Close()
	if got := (machine{file.Machine, file.Data}); got != machines[goarch] {
		return fmt.Errorf("the installer %s is for %s, %s: want one for %s", path, got.machine, got.data, goarch)
	}
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return fmt.Errorf("the installer %s needs a loader, which the image does not have: link it statically", path)
	}
	return nil
}
