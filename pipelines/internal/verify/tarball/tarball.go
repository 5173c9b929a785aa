// Package tarball unpacks the tarball of an artifact and compares its members with
// the ones that users and installers rely on: no more and no less.
package tarball

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
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

// maxRead limits the files of a tarball, in bytes, because checks read most of them into
// memory.
const maxRead = 256 << 20

// Tarball is an unpacked tarball.
type Tarball struct {
	// Dir has the files of the layout at their paths, with their modes.
	Dir     string
	Members []archive.Member
	// Outputs are the paths of the secondary tarballs, by name.
	Outputs map[string]string
	err     error
}

// Unpack lists a tarball and writes the files of the layout below dir. A file
// that is not a tarball is an error.
func (l Layout) Unpack(file, dir string) (*Tarball, error) {
	in, err := files.OpenNamed(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	defer in.Close()
	members, err := archive.Extract(in, func(name string, size int64) (string, error) {
		name = path.Clean(name)
		file, ours := l[name]
		if !ours {
			return "", nil
		}
		if most := cmp.Or(file.Max, maxRead); size > most {
			return "", fmt.Errorf("it has %d bytes: want %d at most", size, most)
		}
		target := filepath.Join(dir, name)
		return target, os.MkdirAll(filepath.Dir(target), 0o755)
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &Tarball{Dir: dir, Members: members}, nil
}

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

// problem says what is wrong with a member, "" if nothing is.
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

// Static says what keeps an executable from being static and stripped.
func Static(file *elf.File) (problems error) {
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			interpreter, _ := io.ReadAll(segment.Open())
			problems = fmt.Errorf("it has the interpreter %s: it is not static", bytes.TrimRight(interpreter, "\x00"))
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		problems = errors.Join(problems, fmt.Errorf("its dynamic section: %w", err))
	}
	if len(libraries) > 0 {
		problems = errors.Join(problems, fmt.Errorf("it needs %s: it is not static", strings.Join(libraries, ", ")))
	}
	if file.Section(".symtab") != nil {
		problems = errors.Join(problems, errors.New("it has symbols: it is not stripped"))
	}
	return problems
}
