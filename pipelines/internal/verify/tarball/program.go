package tarball

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// machines are those that Kata runs on. The byte order tells little-endian PowerPC
// from the big-endian one.
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

// Program opens an executable of the tarball for an architecture. Where it is
// missing, not an ELF file or for another machine, the check says so and the
// result is nil.
func (t *Tarball) Program(r *report.Report, check, name, arch string) (*elf.File, error) {
	data, err := t.Read(name)
	if data == nil {
		if err == nil {
			r.Skip(check, "it is not in the tarball")
		}
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	switch {
	case err != nil:
		r.Fail(check, "it is not an ELF file: %v", err)
		return nil, nil
	case Arch(file) != arch:
		r.Fail(check, "it is a program for %s: want one for %s", file.Machine, arch)
		return nil, nil
	}
	return file, nil
}

// Static says what keeps an executable from being static and stripped.
func Static(file *elf.File) (problems []string) {
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			interpreter, _ := io.ReadAll(segment.Open())
			problems = append(problems, fmt.Sprintf("it has the interpreter %s: it is not static", bytes.TrimRight(interpreter, "\x00")))
		}
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
	return problems
}
