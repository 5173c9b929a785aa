package kconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// ForbiddenFile holds the rules about options that kernels must not have, below the
// repository root.
const ForbiddenFile = Root + "/forbidden.yaml"

// Rule forbids options, named or by a pattern of path.Match, in the kernels that have
// one of the folders In (any kernel if it is empty) and none of Outside. Line is its
// place in ForbiddenFile.
type Rule struct {
	Options []string `yaml:"options"`
	In      []string `yaml:"in"`
	Outside []string `yaml:"outside"`
	Reason  string   `yaml:"reason"`
	Line    int      `yaml:"-"`
}

// loadRules reads and checks ForbiddenFile. A tree without the file has no rules. The
// error has a line for each problem.
func loadRules(tree fs.FS) ([]Rule, error) {
	var file struct {
		Forbidden []Rule `yaml:"forbidden"`
	}
	root, err := strictyaml.ReadFile(tree, ForbiddenFile, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	folders := known(tree)
	for i := range file.Forbidden {
		rule, at := &file.Forbidden[i], root.At("forbidden", i)
		rule.Reason, rule.Line = strings.TrimSpace(rule.Reason), at.Line()
		rule.check(at, folders)
	}
	return file.Forbidden, root.Err()
}

func (r *Rule) check(at strictyaml.Node, folders []string) {
	if len(r.Options) == 0 {
		at.Problem("the rule has no options: name those that it forbids")
	}
	for i, option := range r.Options {
		if _, err := path.Match(option, ""); err != nil || !strings.HasPrefix(option, "CONFIG_") {
			at.At("options", i).Problem("option is %q: want a name such as CONFIG_KCOV, or a pattern such as CONFIG_KASAN*", option)
		}
	}
	if r.Reason == "" {
		at.Problem("the rule has no reason: say why a kernel must not have the options")
	}
	at.Known("folder", slices.Concat(r.In, r.Outside), folders)
}

// applies reports whether the rule is for a kernel with the folders.
func (r *Rule) applies(folders []string) bool {
	has := func(folder string) bool { return slices.Contains(folders, folder) }
	return (len(r.In) == 0 || slices.ContainsFunc(r.In, has)) && !slices.ContainsFunc(r.Outside, has)
}

// breaks returns an error for an option that is on and that the rule forbids.
func (r *Rule) breaks(option Option) error {
	forbids := func(pattern string) bool { matched, _ := path.Match(pattern, option.Name); return matched }
	if option.Value == "n" || !slices.ContainsFunc(r.Options, forbids) {
		return nil
	}
	return fmt.Errorf("%s:%d: %s=%s is forbidden: %s", ForbiddenFile, r.Line, option.Name, option.Value, r.Reason)
}

// rules adds the rules for a kernel with the folders to its plan. The error has a line
// for each forbidden option that a fragment requests.
func (p *Plan) rules(tree fs.FS, folders []string) error {
	all, err := loadRules(tree)
	if err != nil {
		return err
	}
	var problems []error
	for _, rule := range all {
		if !rule.applies(folders) {
			continue
		}
		p.Rules = append(p.Rules, rule)
		for _, option := range p.Requested.Options {
			if err := rule.breaks(option); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", option.Pos(), err))
			}
		}
	}
	return errors.Join(problems...)
}

// debugOptions returns the options that the debug folder sets and the kernel does not
// request. A tree without that folder forbids nothing.
func debugOptions(tree fs.FS, requested *Set, arch string) ([]Option, error) {
	own := byName(requested.Options)
	files, err := inFolder(tree, DebugFolder, arch)
	if err != nil {
		return nil, err
	}
	options, problems := read(tree, files)
	return slices.DeleteFunc(options, func(o Option) bool { return o.Value == "n" || own[o.Name] != nil }), errors.Join(problems...)
}

// CheckForbidden checks that no forbidden option is on in a final .config: none that
// the debug folder sets to that value, and none that a rule forbids. The error has a
// line for each one.
func (p *Plan) CheckForbidden(final []byte) error {
	got, err := ParseConfig("the final configuration", final)
	if err != nil {
		return err
	}
	values := byName(got)
	var problems []error
	for _, option := range p.Forbidden {
		if value := values[option.Name]; value != nil && value.Value == option.Value {
			problems = append(problems, fmt.Errorf("%s: %s=%s is for debug kernels only, but is in the final configuration of %s: find the option that selects it",
				option.Pos(), option.Name, option.Value, p))
			delete(values, option.Name)
		}
	}
	for _, option := range got {
		for _, rule := range p.Rules {
			if err := rule.breaks(option); err != nil && values[option.Name] != nil {
				problems = append(problems, fmt.Errorf("%w; it is in the final configuration of %s: find the option that selects it", err, p))
			}
		}
	}
	return errors.Join(problems...)
}

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
	at.Known("kernel architecture", e.Arches, KernelArches)
	for i, arch := range e.Arches {
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
		if other.Option == e.Option && other.Versions == e.Versions && Share(other.Arches, e.Arches) {
			at.Problem("duplicate exception for %s, already on line %d: merge the two", e.Option, other.Line)
			break
		}
	}
}

// Share reports whether two lists have a name in common. An empty list means all names.
func Share(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

// applies reports whether the exception is for an architecture and a version.
func (e *Exception) applies(arch, version string) bool {
	return Share(e.Arches, []string{arch}) &&
		!slices.ContainsFunc(e.bounds, func(b bound) bool { return !b.holds(version) })
}
