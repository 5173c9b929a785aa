package catalog

import (
	"debug/elf"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// Arch is a guest and host architecture, named as by `uname -m`, by Kata's
// versions.yaml and by its scripts.
type Arch string

// The architectures of Kata's releases, and riscv64, which it builds kernels for.
const (
	X86_64  Arch = "x86_64"
	AArch64 Arch = "aarch64"
	S390X   Arch = "s390x"
	PPC64LE Arch = "ppc64le"
	RISCV64 Arch = "riscv64"
)

type archNames struct {
	arch   Arch
	goarch string
	kernel string
	deb    string
	// machine and data are in the header of an ELF file.
	machine elf.Machine
	data    elf.Data
}

var arches = []archNames{
	{X86_64, "amd64", "x86_64", "amd64", elf.EM_X86_64, elf.ELFDATA2LSB},
	{AArch64, "arm64", "arm64", "arm64", elf.EM_AARCH64, elf.ELFDATA2LSB},
	{S390X, "s390x", "s390", "s390x", elf.EM_S390, elf.ELFDATA2MSB},
	{PPC64LE, "ppc64le", "powerpc", "ppc64el", elf.EM_PPC64, elf.ELFDATA2LSB},
	{RISCV64, "riscv64", "riscv", "riscv64", elf.EM_RISCV, elf.ELFDATA2LSB},
}

// ParseArch accepts the name of an architecture by `uname -m` or by Go.
func ParseArch(name string) (Arch, error) {
	if names := lookup(name); names.arch != "" {
		return names.arch, nil
	}
	var both []string
	for _, names := range arches {
		both = append(both, string(names.arch), names.goarch)
	}
	return "", fmt.Errorf("unknown architecture %q: want one of %s%s", name, join(Arches()), nearest.Hint(name, both))
}

// HostArch is the architecture of this machine, or "" if Kata does not support it.
func HostArch() Arch { return lookup(runtime.GOARCH).arch }

// lookup returns the names of an architecture, by `uname -m` or by Go, or none.
func lookup(name string) archNames {
	for _, names := range arches {
		if name == string(names.arch) || name == names.goarch {
			return names
		}
	}
	return archNames{}
}

// GoArch returns Go's name of the architecture, which is in the names of release files.
func (a Arch) GoArch() string { return lookup(string(a)).goarch }

// Kernel returns the value of ARCH in a Linux build.
func (a Arch) Kernel() string { return lookup(string(a)).kernel }

// Debian returns Debian's name of the architecture.
func (a Arch) Debian() string { return lookup(string(a)).deb }

// CheckELF refuses the header of an ELF file that is for another architecture.
func (a Arch) CheckELF(h elf.FileHeader) error {
	want := lookup(string(a))
	switch {
	case h.Class != elf.ELFCLASS64:
		return fmt.Errorf("is of %s, and not for %s", h.Class, a)
	case h.Machine != want.machine || h.Data != want.data:
		return fmt.Errorf("is for %s, %s, and not for %s", h.Machine, h.Data, a)
	}
	return nil
}

// Arches returns all architectures, in a fixed order.
func Arches() []Arch {
	all := make([]Arch, len(arches))
	for i, names := range arches {
		all[i] = names.arch
	}
	return all
}

// Bytes is a number of bytes, written with its unit: "40 MiB".
type Bytes int64

var byteUnits = []struct {
	name string
	size float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// ParseBytes reads a positive size such as "40 MiB", "1.5 GiB" or "512 B". It drops
// a fraction of a byte.
func ParseBytes(text string) (Bytes, error) {
	for _, unit := range byteUnits {
		number, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimRight(number, " "), 64)
		if err != nil || !(value*unit.size >= 1 && value*unit.size < math.MaxInt64) {
			break
		}
		return Bytes(value * unit.size), nil
	}
	return 0, fmt.Errorf("%q is not a size: want a number and B, KiB, MiB or GiB, such as 40 MiB", text)
}

// UnmarshalYAML reads a size with its unit.
func (b *Bytes) UnmarshalYAML(node *yaml.Node) error {
	size, err := ParseBytes(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	*b = size
	return nil
}

func join(arches []Arch) string {
	names := make([]string, len(arches))
	for i, arch := range arches {
		names[i] = string(arch)
	}
	return strings.Join(names, ", ")
}
