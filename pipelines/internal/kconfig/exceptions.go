package kconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// ExceptionsFile holds the exceptions, below the repository root.
const ExceptionsFile = Root + "/exceptions.yaml"

// KernelArches are the values of ARCH in a Linux build that Kata uses. An exception with a
// misspelt one would never apply.
var KernelArches = []string{"arm64", "powerpc", "riscv", "s390", "x86_64"}

// Exception tolerates that the final configuration lacks a requested option.
// Arches are kernel architectures, empty for all of them; Versions is a range of
// kernel versions such as ">=6.18, <6.20", "" for all. Line is its place in
// ExceptionsFile.
type Exception struct {
	Option   string   `yaml:"option"`
	Reason   string   `yaml:"reason"`
	Arches   []string `yaml:"arches"`
	Versions string   `yaml:"versions"`
	Line     int      `yaml:"-"`

	bounds []bound
}

// LoadExceptions reads and checks kernel-configs/exceptions.yaml. The error has a
// line for each problem.
func LoadExceptions(tree fs.FS) ([]Exception, error) {
	var file struct {
		Exceptions []Exception `yaml:"exceptions"`
	}
	root, err := strictyaml.ReadFile(tree, ExceptionsFile, &file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: write \"exceptions: []\" to it if there are none", err)
	}
	if err != nil {
		return nil, err
	}
	if file.Exceptions == nil {
		return nil, fmt.Errorf("%s:1: no list of exceptions: write \"exceptions: []\" if there are none", ExceptionsFile)
	}
	for i := range file.Exceptions {
		e, at := &file.Exceptions[i], root.At("exceptions", i)
		e.Reason, e.Line = strings.TrimSpace(e.Reason), at.Line()
		e.check(at, file.Exceptions[:i])
	}
	if err := root.Err(); err != nil {
		return nil, err
	}
	return file.Exceptions, nil
}

// check checks an exception against its rules and the ones before it.
func (e *Exception) check(at strictyaml.Node, others []Exception) {
	if !validName.MatchString(e.Option) {
		at.Problem("option is %q: want a name such as CONFIG_PCI", e.Option)
	}
	if e.Reason == "" {
		at.Problem("the exception for %s has no reason: say why the kernel may lack it", e.Option)
	}
	for i, arch := range e.Arches {
		if !slices.Contains(KernelArches, arch) {
			at.Problem("unknown kernel architecture %q: choose one of %s%s",
				arch, strings.Join(KernelArches, ", "), nearest.Hint(arch, KernelArches))
		}
		if slices.Contains(e.Arches[:i], arch) {
			at.Problem("duplicate architecture %s: remove one", arch)
		}
	}
	var err error
	if e.bounds, err = parseRange(e.Versions); err != nil {
		at.Problem("%w", err)
	}
	for i := range others {
		other := &others[i]
		if other.Option == e.Option && other.Versions == e.Versions && other.shares(e) {
			at.Problem("duplicate exception for %s, already on line %d: merge the two", e.Option, other.Line)
			break
		}
	}
}

// shares reports whether both apply to a common architecture.
func (e *Exception) shares(other *Exception) bool {
	return len(e.Arches) == 0 || len(other.Arches) == 0 ||
		slices.ContainsFunc(e.Arches, func(arch string) bool { return slices.Contains(other.Arches, arch) })
}

// applies reports whether the exception is for an architecture and a version.
func (e *Exception) applies(arch, version string) bool {
	return e.shares(&Exception{Arches: []string{arch}}) &&
		!slices.ContainsFunc(e.bounds, func(b bound) bool { return !b.holds(version) })
}
