package payload

import (
	"bytes"
	"cmp"
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

// component returns the component of a name, nil if there is none.
func (o Options) component(name string) *archive.Component {
	i := slices.IndexFunc(o.Components, func(c archive.Component) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &o.Components[i]
}

// installs reports whether the image installs its components.
func (o Options) installs() bool {
	return len(o.Programs) == 0 && (o.Installer != "" || o.component(InstallerAsset) != nil)
}

// installer returns the program that the image runs.
func (o Options) installer() (entry, error) {
	if o.Installer != "" {
		return file(Installer, 0o755, o.Installer)
	}
	tarball := o.component(InstallerAsset).Path
	listing, err := archive.Inspect(tarball)
	if err != nil {
		return entry{}, err
	}
	for _, m := range listing.Members {
		if m.Name == installerMember {
			return entry{name: Installer, mode: 0o755, piece: piece{member{tarball, m.Name}, m.Size}}, nil
		}
	}
	return entry{}, fmt.Errorf("%s has no %s", tarball, installerMember)
}

// Assets returns the components that the programs are in, sorted.
func (o Options) Assets() (names []string) {
	for _, p := range o.Programs {
		if p.Component != "" && !slices.Contains(names, p.Component) {
			names = append(names, p.Component)
		}
	}
	slices.Sort(names)
	return names
}

// programs returns the entries of the programs, sorted by path.
func (o Options) programs() (entries []entry, err error) {
	for _, p := range slices.SortedFunc(slices.Values(o.Programs), func(a, b Program) int { return cmp.Compare(a.Path, b.Path) }) {
		e := text(p.Path, p.Content)
		if p.Component != "" {
			if e.piece, err = o.member(p); err != nil {
				return nil, err
			}
		}
		e.mode = 0o755
		entries = append(entries, e)
	}
	return entries, nil
}

// member returns the content of a program in its component.
func (o Options) member(p Program) (piece, error) {
	c := o.component(p.Component)
	if c == nil {
		return piece{}, fmt.Errorf("%s needs %s for %s: name it", o.Name, p.Component, p.Path)
	}
	tarball := c.Path
	listing, err := archive.Inspect(tarball)
	if err != nil {
		return piece{}, err
	}
	j := slices.IndexFunc(listing.Members, func(m archive.Sized) bool { return m.Name == "./"+p.Member && m.Mode.IsRegular() })
	if j < 0 {
		return piece{}, fmt.Errorf("%s has no file %s for the image %s: correct the path in %s", tarball, p.Member, o.Name, catalog.ImagesFile)
	}
	return piece{member{tarball, listing.Members[j].Name}, listing.Members[j].Size}, nil
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
