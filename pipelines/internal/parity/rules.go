package parity

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// File holds the rules, below the repository root.
const File = kconfig.Root + "/parity.yaml"

// Rules are the contents of File.
type Rules struct {
	// Parts are in the order in which Kata merges them.
	Parts   []Part   `yaml:"parts"`
	Kernels []Build  `yaml:"kernels"`
	Reasons []Reason `yaml:"reasons"`
}

// Part is a group of Kata's fragments that a kernel gets or not. In the patterns, ARCH is
// the architecture.
type Part struct {
	Name  string   `yaml:"name"`
	Files []string `yaml:"files"`
}

// Range limits a build or a reason to some versions of Kata's configuration. Both ends
// are included; 0 is no limit.
type Range struct {
	Since int `yaml:"since"`
	Until int `yaml:"until"`
}

func (r Range) holds(version int) bool {
	return version >= r.Since && (r.Until == 0 || version <= r.Until)
}

// Build says which parts Kata builds a kernel from.
type Build struct {
	Kernel string   `yaml:"kernel"`
	Arches []string `yaml:"arches"`
	Parts  []string `yaml:"parts"`
	Range  `yaml:",inline"`
}

// Reason is why our kernels differ in some options. It is for the kernels and
// architectures that it names, by default for all. Selected options are in the final
// configuration, although no fragment requests them: another option selects them.
type Reason struct {
	Options  []string `yaml:"options"`
	Reason   string   `yaml:"reason"`
	Kernels  []string `yaml:"kernels"`
	Arches   []string `yaml:"arches"`
	Selected bool     `yaml:"selected"`
	Range    `yaml:",inline"`
	// Line is its place in File.
	Line int `yaml:"-"`
}

// covers reports whether a reason is for a kernel.
func (r *Reason) covers(kernel, arch string, version int) bool {
	return r.holds(version) && kconfig.Share(r.Kernels, []string{kernel}) && kconfig.Share(r.Arches, []string{arch})
}

// Load reads and checks kernel-configs/parity.yaml, which may name these kernels. The
// error has a line for each problem.
func Load(tree fs.FS, kernels []string) (*Rules, error) {
	rules := &Rules{}
	root, err := strictyaml.ReadFile(tree, File, rules)
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, part := range rules.Parts {
		parts = append(parts, part.Name)
	}
	for i, build := range rules.Kernels {
		at := root.At("kernels", i)
		at.Known("kernel", []string{build.Kernel}, kernels)
		at.Known("part", build.Parts, parts)
		at.Known("kernel architecture", build.Arches, kconfig.KernelArches)
		if len(build.Arches) == 0 || len(build.Parts) == 0 {
			at.Problem("a kernel needs the fields arches and parts")
		}
		for _, other := range rules.Kernels[:i] {
			if other.Kernel == build.Kernel && kconfig.Share(other.Arches, build.Arches) && other.overlaps(build.Range) {
				at.Problem("duplicate kernel %s: separate the two by arches, or by since and until", build.Kernel)
			}
		}
	}
	for i := range rules.Reasons {
		reason, at := &rules.Reasons[i], root.At("reasons", i)
		reason.Line, reason.Reason = at.Line(), strings.TrimSpace(reason.Reason)
		at.Known("kernel", reason.Kernels, kernels)
		at.Known("kernel architecture", reason.Arches, kconfig.KernelArches)
		reason.check(at, rules.Reasons[:i])
	}
	return rules, root.Err()
}

// check checks a reason against its rules and the ones before it.
func (r *Reason) check(at strictyaml.Node, others []Reason) {
	if r.Reason == "" {
		at.Problem("no reason: say why our kernels differ")
	}
	if len(r.Options) == 0 {
		at.Problem("no options: name at least one")
	}
	for i, option := range r.Options {
		here := at.At("options", i)
		if !strings.HasPrefix(option, "CONFIG_") {
			here.Problem("option is %q: want a name such as CONFIG_PCI", option)
		}
		if slices.Contains(r.Options[:i], option) {
			here.Problem("duplicate option %s: remove one", option)
		}
		for _, other := range others {
			if slices.Contains(other.Options, option) && other.overlaps(r.Range) &&
				kconfig.Share(other.Kernels, r.Kernels) && kconfig.Share(other.Arches, r.Arches) {
				here.Problem("duplicate reason for %s, already on line %d: keep one of the two", option, other.Line)
			}
		}
	}
}

// overlaps reports whether two ranges have a version in common.
func (r Range) overlaps(other Range) bool {
	return r.holds(max(r.Since, other.Since)) && other.holds(max(r.Since, other.Since))
}

// build returns how a version of Kata builds a kernel, or nil if it does not. It is an
// error if no version does.
func (r *Rules) build(kernel, arch string, version int) (*Build, error) {
	known := false
	for i, build := range r.Kernels {
		if build.Kernel != kernel || !slices.Contains(build.Arches, arch) {
			continue
		}
		if known = true; build.holds(version) {
			return &r.Kernels[i], nil
		}
	}
	if !known {
		return nil, fmt.Errorf("%s: no kernel %s for %s: add the parts that Kata builds it from", File, kernel, arch)
	}
	return nil, nil
}
