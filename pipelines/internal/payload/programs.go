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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

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
	if err := runsOn(goarch, file); err != nil {
		return fmt.Errorf("the installer %s %w: name another", path, err)
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
		if err := runsOn(goarch, program); err != nil {
			return fmt.Errorf("%s: %s %w: take the tarball for %s", tarball, member.Name, err, goarch)
		}
	}
	return nil
}

// runsOn returns an error for a program that is for another architecture.
func runsOn(goarch string, program *elf.File) error {
	arch, err := catalog.ParseArch(goarch)
	if err != nil {
		return err
	}
	return arch.CheckELF(program.FileHeader)
}
