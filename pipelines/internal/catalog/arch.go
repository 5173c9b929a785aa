package catalog

import (
	"fmt"
	"runtime"
	"strings"

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
}

var arches = []archNames{
	{X86_64, "amd64", "x86_64", "amd64"},
	{AArch64, "arm64", "arm64", "arm64"},
	{S390X, "s390x", "s390", "s390x"},
	{PPC64LE, "ppc64le", "powerpc", "ppc64el"},
	{RISCV64, "riscv64", "riscv", "riscv64"},
}

// ParseArch accepts the name of an architecture by `uname -m` or by Go.
func ParseArch(name string) (Arch, error) {
	var known, both []string
	for _, names := range arches {
		if name == string(names.arch) || name == names.goarch {
			return names.arch, nil
		}
		known = append(known, string(names.arch))
		both = append(both, string(names.arch), names.goarch)
	}
	return "", fmt.Errorf("unknown architecture %q: want one of %s%s",
		name, strings.Join(known, ", "), nearest.Hint(name, both))
}

// HostArch is the architecture of this machine, or "" if Kata does not support it.
func HostArch() Arch {
	for _, names := range arches {
		if names.goarch == runtime.GOARCH {
			return names.arch
		}
	}
	return ""
}

// GoArch returns Go's name of the architecture, which is in the names of release files.
func (a Arch) GoArch() string { return a.names().goarch }

// Kernel returns the value of ARCH in a Linux build.
func (a Arch) Kernel() string { return a.names().kernel }

// Debian returns the name of Debian's port.
func (a Arch) Debian() string { return a.names().deb }

func (a Arch) names() archNames {
	for _, names := range arches {
		if names.arch == a {
			return names
		}
	}
	return archNames{arch: a}
}

// Arches returns all architectures, in a fixed order.
func Arches() []Arch {
	all := make([]Arch, len(arches))
	for i, names := range arches {
		all[i] = names.arch
	}
	return all
}
