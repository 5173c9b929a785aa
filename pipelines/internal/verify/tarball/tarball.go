// Package tarball vets and unpacks the tarball of an artifact in one pass, and compares
// its members with the ones that users and installers rely on: no more and no less.
package tarball

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// File is a file that a tarball must have, or a symbolic link.
type File struct {
	Mode fs.FileMode
	// Size is its exact size in bytes, 0 for any size except empty.
	Size int64
	// Max is the most that it may have, in bytes, 0 for maxRead.
	Max int64
	// Link is the target, of a link.
	Link string
}

// Layout says what a tarball must have, by path without a leading "./".
type Layout map[string]File

// Path is where a file of the layout was unpacked, if the tarball has it.
func (t *Tarball) Path(name string) string { return filepath.Join(t.Dir, name) }

// Read reads a file of the layout, nil if the tarball does not have it. One that cannot
// be read counts as missing, and Err says why.
func (t *Tarball) Read(name string) []byte {
	data, err := os.ReadFile(t.Path(name))
	if err == nil {
		return data
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.err = errors.Join(t.err, err)
	}
	return nil
}

// Err returns why files could not be read, nil if all of them were.
func (t *Tarball) Err() error { return t.err }

// Check compares the members with the layout; saw describes all of them.
func (l Layout) Check(r *report.Report, t *Tarball, saw string) {
	missing := maps.Clone(l)
	var problems error
	for _, m := range t.Members {
		name := path.Clean(m.Name)
		if problem := l.problem(name, m); problem != "" {
			problems = errors.Join(problems, fmt.Errorf("%s %s", m.Name, problem))
		}
		delete(missing, name)
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		problems = errors.Join(problems, fmt.Errorf("./%s is missing", name))
	}
	r.Result("members", saw, problems)
}

func (l Layout) problem(name string, m archive.Member) string {
	file, known := l[name]
	switch {
	case m.Mode.IsDir() && l.leads(m.Name):
	case !known:
		return "does not belong to the asset"
	case file.Link != "":
		if m.Mode.Type() != fs.ModeSymlink {
			return fmt.Sprintf("has mode %s: want a link to %s", m.Mode, file.Link)
		}
	case m.Mode != file.Mode:
		return fmt.Sprintf("has mode %s: want %s", m.Mode, file.Mode)
	case m.Size == 0:
		return "is empty"
	case file.Size != 0 && m.Size != file.Size:
		return fmt.Sprintf("has %d bytes: want %d", m.Size, file.Size)
	}
	return ""
}

// leads reports whether a folder, "./opt/", leads to a member of the layout.
func (l Layout) leads(folder string) bool {
	for name := range l {
		if strings.HasPrefix("./"+name, folder) {
			return true
		}
	}
	return false
}

// CheckLinks follows the links of the layout.
func (l Layout) CheckLinks(r *report.Report, t *Tarball) {
	members := map[string]archive.Member{}
	for _, m := range t.Members {
		members[path.Clean(m.Name)] = m
	}
	var saw []string
	var problems error
	for _, name := range slices.Sorted(maps.Keys(l)) {
		want, member := l[name].Link, members[name]
		_, there := members[path.Join(path.Dir(name), member.Link)]
		var err error
		switch {
		case want == "":
			continue
		case member.Mode.Type() != fs.ModeSymlink:
			err = fmt.Errorf("%s is not a link: the runtime's configuration names it", path.Base(name))
		case !there:
			err = fmt.Errorf("%s links to %s, which is not in the tarball", name, member.Link)
		case member.Link != want:
			err = fmt.Errorf("%s links to %s: want %s", name, member.Link, want)
		}
		saw, problems = append(saw, path.Base(name)+" -> "+want), errors.Join(problems, err)
	}
	r.Result("links", strings.Join(saw, ", "), problems)
}

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
