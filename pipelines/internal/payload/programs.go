package payload

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// machine is what the header of an ELF file says about its architecture.
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

// CheckInstaller refuses a program that an image of an architecture cannot run: one of
// another architecture, and one that needs a loader, which no image has.
func CheckInstaller(path, goarch string) error {
	program, err := files.OpenNamed(path)
	if err != nil {
		return fmt.Errorf("the installer %s: %w", path, err)
	}
	defer program.Close()
	file, err := elf.NewFile(program)
	if err != nil {
		return fmt.Errorf("the installer %s: want a static program for %s: %w", path, goarch, err)
	}
	if got := (machine{file.Machine, file.Data}); got != machines[goarch] {
		return fmt.Errorf("the installer %s is for %s, %s: want one for %s", path, got.machine, got.data, goarch)
	}
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return fmt.Errorf("the installer %s needs a loader, which the image does not have: link it statically", path)
	}
	return nil
}

// CheckPrograms refuses a tarball with a program of another architecture in a folder
// bin: a folder of tarballs does not say which architecture it is for. It skips a
// tarball without an index.
func CheckPrograms(tarball, goarch string) error {
	file, err := archive.Open(tarball)
	if errors.Is(err, archive.ErrNoIndex) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	for _, member := range file.Index().Members() {
		if !member.Mode.IsRegular() || path.Base(path.Dir(member.Name)) != "bin" {
			continue
		}
		content, err := file.ReadFile(member.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", tarball, err)
		}
		data, err := io.ReadAll(content)
		if err = errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("%s: %w", tarball, err)
		}
		if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
			continue
		}
		program, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", tarball, member.Name, err)
		}
		if got := (machine{program.Machine, program.Data}); got != machines[goarch] {
			return fmt.Errorf("%s: %s is for %s, %s: want the tarball for %s", tarball, member.Name, got.machine, got.data, goarch)
		}
	}
	return nil
}
