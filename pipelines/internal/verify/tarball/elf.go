package tarball

import (
	"bytes"
	"debug/elf"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// machines are the ones that Kata runs on. The byte order tells little-endian PowerPC
// from big-endian PowerPC.
var machines = []struct {
	machine elf.Machine
	data    elf.Data
	arch    string
}{
	{elf.EM_X86_64, elf.ELFDATA2LSB, "x86_64"},
	{elf.EM_AARCH64, elf.ELFDATA2LSB, "aarch64"},
	{elf.EM_S390, elf.ELFDATA2MSB, "s390x"},
	{elf.EM_PPC64, elf.ELFDATA2LSB, "ppc64le"},
	{elf.EM_RISCV, elf.ELFDATA2LSB, "riscv64"},
}

// Arch is the architecture of an ELF file as `uname -m` prints it, or the name of
// its machine where Kata does not run.
func Arch(file *elf.File) string {
	for _, m := range machines {
		if m.machine == file.Machine && m.data == file.Data {
			return m.arch
		}
	}
	return file.Machine.String()
}

// Program opens an executable of the tarball for an architecture.
func (t *Tarball) Program(name, arch string) (*elf.File, error) {
	data := t.Read(name)
	if data == nil {
		return nil, report.Missing("it is not in the tarball")
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("it is not an ELF file: %w", err)
	}
	if Arch(file) != arch {
		return nil, fmt.Errorf("it is a program for %s: want one for %s", file.Machine, arch)
	}
	return file, nil
}
