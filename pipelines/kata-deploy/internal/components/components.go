// Package components reads the payload of the image: a tarball for each component, and the
// list of components that each shim needs. It reads indexes first, and of a tarball only
// the frames of the files that somebody asks for.
package components

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

const (
	// list is the file that says which components a shim needs.
	list = "shim-components.json"
	// prefix is where the members of all tarballs are.
	prefix = "./opt/kata/"
	// maxSmall bounds the files that are read into memory.
	maxSmall = 4 << 20
)

// Payload is the payload for an architecture.
type Payload struct {
	dir, arch string
	// shims are the components of each shim.
	shims map[string][]string
}

// File is a file or a link of a component. Path is that below the folder of the
// installation: "bin/qemu-system-x86_64".
type File struct {
	Path, Component string
	archive.Member
}

// Open reads the list of components for an architecture, as `uname -m` prints it.
func Open(dir, arch string) (*Payload, error) {
	data, err := files.Read(filepath.Join(dir, list), maxSmall)
	if err != nil {
		return nil, fmt.Errorf("opening the payload: %w: the image has none for this program", err)
	}
	var all struct {
		Shims map[string]map[string][]string `json:"shims"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("opening the payload: reading %s: %w", list, err)
	}
	p := &Payload{dir: dir, arch: arch, shims: map[string][]string{}}
	for name, arches := range all.Shims {
		if names := arches[arch]; len(names) > 0 && p.has(names) {
			p.shims[name] = names
		}
	}
	if len(p.shims) == 0 {
		return nil, fmt.Errorf("the payload in %s has no shim for %s: use the image of this node's architecture", dir, arch)
	}
	return p, nil
}

// has reports whether the payload has all components: an image that was made of some
// assets lists shims whose others it lacks.
func (p *Payload) has(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !p.Has(name) })
}

// Has reports whether the payload has a component.
func (p *Payload) Has(component string) bool { return files.Exists(p.tarball(component)) }

// Shims returns the names of the shims that can be installed, sorted.
func (p *Payload) Shims() []string { return slices.Sorted(maps.Keys(p.shims)) }

// Components returns the components that some shims need, each once, sorted.
func (p *Payload) Components(shims []string) []string {
	var names []string
	for _, shim := range shims {
		names = append(names, p.shims[shim]...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *Payload) tarball(component string) string {
	return filepath.Join(p.dir, "tarballs", "kata-static-"+component+".tar.zst")
}

// Files lists the files and links of components, by the indexes of their tarballs, sorted
// by path. A program of another architecture is an error.
func (p *Payload) Files(components []string) ([]File, error) {
	at := map[string]File{}
	var problems []error
	for _, name := range components {
		problems = append(problems, p.list(name, at))
	}
	all := slices.SortedFunc(maps.Values(at), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all, errors.Join(problems...)
}

func (p *Payload) list(component string, at map[string]File) error {
	tarball, err := p.open(component)
	if err != nil {
		return err
	}
	defer tarball.Close()
	for _, m := range tarball.Index().Members() {
		path, ours := strings.CutPrefix(m.Name, prefix)
		if err := archive.CheckMember(m); err != nil || !ours && !m.Mode.IsDir() {
			return fmt.Errorf("component %s: %s is outside %s: %w", component, m.Name, prefix, errors.Join(err, fs.ErrInvalid))
		}
		if m.Mode.IsDir() {
			continue
		}
		file := File{path, component, m}
		if other, twice := at[path]; twice && (other.SHA256 != m.SHA256 || other.Link != m.Link || other.Mode != m.Mode) {
			return fmt.Errorf("components %s and %s have different files at %s", other.Component, component, path)
		}
		at[path] = file
	}
	return p.checkPrograms(component, tarball)
}

func (p *Payload) open(component string) (*archive.File, error) {
	tarball, err := archive.Open(p.tarball(component))
	if err != nil {
		return nil, fmt.Errorf("component %s: %w: pull the image again", component, err)
	}
	return tarball, nil
}

// machines are the architectures in the heads of programs.
var machines = map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "s390x": elf.EM_S390, "ppc64le": elf.EM_PPC64}

// checkPrograms refuses a component whose first program is for another architecture.
func (p *Payload) checkPrograms(component string, tarball *archive.File) error {
	for _, m := range tarball.Index().Members() {
		dir := filepath.Base(filepath.Dir(m.Name))
		if !m.Mode.IsRegular() || m.Size < 64 || dir != "bin" && dir != "libexec" {
			continue
		}
		content, err := tarball.ReadFile(m.Name)
		if err != nil {
			return fmt.Errorf("component %s: %w", component, err)
		}
		head := make([]byte, 20)
		_, err = io.ReadFull(content, head)
		if err = errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("component %s: reading %s: %w", component, m.Name, err)
		}
		if string(head[:4]) != elf.ELFMAG {
			continue
		}
		machine := elf.Machine(uint16(head[18]) | uint16(head[19])<<8)
		if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
			machine = elf.Machine(uint16(head[19]) | uint16(head[18])<<8)
		}
		if machine != machines[p.arch] {
			return fmt.Errorf("component %s: %s is a program for %s, but this node is %s: use the image of its architecture", component, m.Name, machine, p.arch)
		}
		return nil
	}
	return nil
}

// Read returns the content of a small file of a component.
func (p *Payload) Read(f File) ([]byte, error) {
	tarball, err := p.open(f.Component)
	if err != nil {
		return nil, err
	}
	defer tarball.Close()
	content, err := tarball.ReadFile(f.Name)
	if err != nil {
		return nil, fmt.Errorf("component %s: %w", f.Component, err)
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, maxSmall))
	if err != nil {
		return nil, fmt.Errorf("component %s: %w", f.Component, err)
	}
	return data, nil
}

// Unpack writes files of one component to paths that do not exist yet: from the path in
// the payload to that on disk.
func (p *Payload) Unpack(ctx context.Context, component string, to map[string]string) error {
	tarball, err := p.open(component)
	if err != nil {
		return err
	}
	defer tarball.Close()
	wanted := map[string]bool{}
	for path := range to {
		wanted[prefix+path] = true
	}
	done := 0
	for m, content := range tarball.Files(wanted) {
		if err := write(to[strings.TrimPrefix(m.Name, prefix)], m.Mode.Perm(), files.Reader(ctx, content)); err != nil {
			return fmt.Errorf("component %s: unpacking %s: %w", component, m.Name, err)
		}
		done++
	}
	if done < len(to) {
		return fmt.Errorf("component %s: it has %d of %d files: pull the image again", component, done, len(to))
	}
	return nil
}

func write(path string, mode fs.FileMode, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Chmod(mode), file.Close())
}
