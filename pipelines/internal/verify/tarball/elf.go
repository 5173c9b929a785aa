package tarball

import (
	"bytes"
	"debug/elf"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Arch is the architecture of an ELF file as `uname -m` prints it, or the name of
// its machine where Kata does not run.
func Arch(file *elf.File) string {
	for _, arch := range catalog.Arches() {
		if arch.CheckELF(file.FileHeader) == nil {
			return string(arch)
		}
	}
	if file.Class != elf.ELFCLASS64 {
		return file.Machine.String() + " of " + file.Class.String()
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
