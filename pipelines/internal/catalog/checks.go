package catalog

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// The common checks of `verify`, which every asset has.
const (
	CheckWhole        = "whole"
	CheckHostSafe     = "host-safe"
	CheckArchitecture = "architecture"
	CheckLibraries    = "libraries"
	CheckPIE          = "pie"
	CheckRELRO        = "relro"
	CheckNX           = "nx"
	CheckStripped     = "stripped"
	CheckDebug        = "debug-sections"
	CheckBuildPaths   = "build-paths"
	CheckSize         = "size"
	CheckRuns         = "runs"
)

// CommonChecks are the names of the common checks, in the order in which they run.
var CommonChecks = []string{
	CheckWhole, CheckHostSafe, CheckArchitecture, CheckLibraries, CheckPIE, CheckRELRO, CheckNX,
	CheckStripped, CheckDebug, CheckBuildPaths, CheckSize, CheckRuns,
}

// Checks adapt the common checks to an asset. Paths are those in the tarball, without
// the leading "./". None of it is in the key.
type Checks struct {
	// Runs are programs to start.
	Runs []Run `yaml:"runs"`
	// Libraries are the shared libraries of a program. Others must be static.
	Libraries map[string][]string `yaml:"libraries"`
	// Scripts are files of the family's folder. Each is a check, named by its file.
	Scripts []string `yaml:"scripts"`
	// Except are checks that the asset, or some of its files, need not pass.
	Except []Exception `yaml:"except"`
}

// Run says how to start a program, and what it must print.
type Run struct {
	File string   `yaml:"file"`
	Args []string `yaml:"args"`
	// Want is a regular expression. In it, ${NAME} is the value of a pin or an
	// option, without a leading v.
	Want string `yaml:"want"`
}

// String returns the command line.
func (r Run) String() string { return strings.Join(append([]string{r.File}, r.Args...), " ") }

// Exception turns checks off.
type Exception struct {
	Checks []string `yaml:"checks"`
	// Files are patterns of [path.Match]: one that matches a folder also matches
	// everything in it. Without any, the checks are off for the whole asset.
	Files []string `yaml:"files"`
	// Arches limit it to some architectures.
	Arches []Arch `yaml:"arches"`
	Reason string `yaml:"reason"`
}

// covers reports whether a pattern matches a file, or a folder that it is in.
func covers(pattern, file string) bool {
	for name := file; name != "."; name = path.Dir(name) {
		if matched, _ := path.Match(pattern, name); matched { // Load has checked the pattern.
			return true
		}
	}
	return false
}

// Off returns the reason why a check is off for the whole asset, "" if it is not.
func (c Checks) Off(check string) string {
	return c.reason(check, func(e Exception) bool { return len(e.Files) == 0 })
}

// Excepted returns the reason why a file need not pass a check, "" if it must.
func (c Checks) Excepted(check, file string) string {
	return c.reason(check, func(e Exception) bool {
		return slices.ContainsFunc(e.Files, func(pattern string) bool { return covers(pattern, file) })
	})
}

// Idle returns the patterns in the exceptions from a check that match none of the files.
func (c Checks) Idle(check string, files []string) (patterns []string) {
	for _, e := range c.Except {
		for _, pattern := range e.Files {
			if slices.Contains(e.Checks, check) && !slices.ContainsFunc(files, func(file string) bool { return covers(pattern, file) }) {
				patterns = append(patterns, pattern)
			}
		}
	}
	return patterns
}

func (c Checks) reason(check string, applies func(Exception) bool) string {
	for _, e := range c.Except {
		if slices.Contains(e.Checks, check) && applies(e) {
			return e.Reason
		}
	}
	return ""
}

// on returns the checks on an architecture.
func (c Checks) on(arch Arch) Checks {
	c.Except = slices.DeleteFunc(slices.Clone(c.Except), func(e Exception) bool {
		return len(e.Arches) > 0 && !slices.Contains(e.Arches, arch)
	})
	return c
}

// with returns the checks of a family with those of one of its assets.
func (c Checks) with(own Checks) Checks {
	libraries := maps.Clone(c.Libraries)
	if libraries == nil {
		libraries = map[string][]string{}
	}
	maps.Copy(libraries, own.Libraries)
	return Checks{slices.Concat(c.Runs, own.Runs), libraries, slices.Concat(c.Scripts, own.Scripts), slices.Concat(c.Except, own.Except)}
}

// RequiredChecks returns the common checks that the asset must pass before it is
// released. Its programs must run only on machines that can start them.
func (a Asset) RequiredChecks(native bool) []string {
	return slices.DeleteFunc(slices.Clone(CommonChecks), func(check string) bool {
		return a.Checks.Off(check) != "" || check == CheckSize && a.Budget == 0 ||
			check == CheckBuildPaths && a.Import != nil || check == CheckRuns && (len(a.Checks.Runs) == 0 || !native)
	})
}

// BootsKernel reports whether the checks of an asset boot a guest kernel of another one.
func (a Asset) BootsKernel() bool {
	return slices.Contains([]string{"cloud-hypervisor", "firecracker", "rootfs", "virtiofsd"}, a.Verify)
}

// Pattern returns the regular expression that the output must match. Values are those
// of pins and options, by name.
func (r Run) Pattern(values map[string]string) (*regexp.Regexp, error) {
	var unknown error
	text := variable.ReplaceAllStringFunc(r.Want, func(match string) string {
		name := match[len("${") : len(match)-len("}")]
		value, found := values[name]
		if !found {
			unknown = fmt.Errorf("%s: neither a pin nor an option has the name %s%s", r.Want, name, nearest.Hint(name, slices.Sorted(maps.Keys(values))))
		}
		return regexp.QuoteMeta(strings.TrimPrefix(value, "v"))
	})
	if unknown != nil {
		return nil, unknown
	}
	return regexp.Compile("(?m)" + text)
}

// checks checks what an asset, or a family without pins, options and architectures, says
// about its checks.
func (c checker) checks(checks Checks, variables map[string]string, arches []Arch) {
	for i, run := range checks.Runs {
		at := c.at("runs", i)
		at.member(run.File)
		if _, err := run.Pattern(variables); err != nil {
			at.At("want").Problem("%w", err)
		}
		if run.Want == "" {
			at.Problem("%s: want is empty: any output would do", run.File)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(checks.Libraries)) {
		at := c.at("libraries", file)
		at.member(file)
		if len(checks.Libraries[file]) == 0 {
			at.Problem("%s has no libraries: leave it out, because programs are static unless they are here", file)
		}
		at.unique("library", nil, checks.Libraries[file])
	}
	for i, script := range checks.Scripts {
		c.at("scripts", i).path("script", script)
	}
	c.at("scripts").unique("script", nil, checks.Scripts)
	for i, e := range checks.Except {
		c.at("except", i).exception(e, arches)
	}
}

func (c checker) exception(e Exception, arches []Arch) {
	if e.Reason == "" {
		c.Problem("the exception has no reason")
	}
	if len(e.Checks) == 0 {
		c.Problem("the exception names no checks: choose from %s", strings.Join(CommonChecks[1:], ", "))
	}
	for i, name := range e.Checks {
		switch {
		case name == CheckWhole:
			c.At("checks", i).Problem("no asset is excepted from the check %s", name)
		case !slices.Contains(CommonChecks, name):
			c.At("checks", i).Problem("unknown check %q: choose from %s%s", name, strings.Join(CommonChecks[1:], ", "), nearest.Hint(name, CommonChecks))
		case len(e.Files) > 0 && (name == CheckSize || name == CheckRuns):
			c.At("files").Problem("the check %s is of the whole asset: remove files", name)
		}
	}
	for i, arch := range e.Arches {
		at := c.at("arches", i)
		at.arch(arch)
		if len(arches) > 0 && !slices.Contains(arches, arch) {
			at.Problem("the asset does not exist on %s", arch)
		}
	}
	for i, pattern := range e.Files {
		at := c.at("files", i)
		if _, err := path.Match(pattern, ""); err != nil {
			at.Problem("pattern %q: %w", pattern, err)
		}
		at.member(pattern)
	}
}

// member checks the path of a member of a tarball.
func (c checker) member(name string) {
	if name == "." || path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "../") {
		c.Problem("file %q: want its path in the tarball, such as opt/kata/bin/program", name)
	}
}

// variables are the names of an asset's pins and options, with values that a pattern
// may have.
func (a Asset) variables() map[string]string {
	values := map[string]string{}
	for name := range a.Pins {
		values[name] = "1"
	}
	maps.Copy(values, a.Options)
	return values
}
