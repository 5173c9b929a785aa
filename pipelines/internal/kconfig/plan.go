package kconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// DebugFolder holds the options that only debugging needs: they cost a guest time and
// memory, and expose its internals.
const DebugFolder = "debug"

// Plan is what the final configuration of one guest kernel must have, may lack and
// must not have. The build, `kernel-config` and `verify` check against the same
// plan.
type Plan struct {
	// Arch is the architecture as ARCH in a Linux build, Version a version of Linux
	// such as "v6.18.15", and ConfigVersion the number in VersionFile.
	Arch, Version string
	ConfigVersion int
	Requested     *Set
	// Exceptions are those that apply to this kernel, by option.
	Exceptions map[string][]Exception
	// Forbidden are the options that DebugFolder sets and this kernel does not
	// request. A kernel that names DebugFolder forbids nothing.
	Forbidden []Option
	// Rules are those of ForbiddenFile for this kernel.
	Rules []Rule
}

// NewPlan reads the plan of the kernel that names the folders. The error holds a
// line for each problem; a version that is not a Linux version is one.
func NewPlan(tree fs.FS, folders []string, arch, version string) (*Plan, error) {
	p := &Plan{Arch: arch, Version: version}
	var err error
	if p.Requested, err = Load(tree, folders, arch); err != nil {
		return nil, err
	}
	exceptions, err := LoadExceptions(tree)
	if err != nil {
		return nil, err
	}
	parsed, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	p.Exceptions = map[string][]Exception{}
	for _, e := range exceptions {
		if e.applies(arch, parsed) {
			p.Exceptions[e.Option] = append(p.Exceptions[e.Option], e)
		}
	}
	if p.ConfigVersion, err = ConfigVersion(tree); err != nil {
		return nil, err
	}
	if err := p.rules(tree, folders); err != nil {
		return nil, err
	}
	if !slices.Contains(folders, DebugFolder) {
		p.Forbidden, err = debugOptions(tree, p.Requested, arch)
	}
	return p, err
}

// Tolerated returns the names of the requested options that the kernel may lack,
// sorted and never nil.
func (p *Plan) Tolerated() []string {
	names := []string{}
	for _, option := range p.Requested.Options {
		if len(p.Exceptions[option.Name]) > 0 {
			names = append(names, option.Name)
		}
	}
	return names
}

// Check checks a final .config with CheckRequested and CheckForbidden.
func (p *Plan) Check(final []byte, facts *Facts) error {
	if _, err := parseFinal(final); err != nil {
		return err // Once, not by both.
	}
	return errors.Join(p.CheckRequested(final, facts), p.CheckForbidden(final))
}

// CheckRequested checks that a final .config has every requested option by exact
// name and value; an absent option meets the value n. An option may be missing
// only if an exception applies, and an exception that applies to an option that is
// not missing is stale.
//
// The error has a line for each option, and a last one that says what to do. With
// facts of the configured tree it explains why an option is missing; facts may be
// nil.
func (p *Plan) CheckRequested(final []byte, facts *Facts) error {
	got, err := parseFinal(final)
	if err != nil {
		return err
	}
	var problems []error
	missing := false
	for _, option := range p.Requested.Options {
		value := got[option.Name]
		survived := value == nil && option.Value == "n" || value != nil && value.Value == option.Value
		excused := p.Exceptions[option.Name]
		if !survived && len(excused) == 0 {
			problems = append(problems, fmt.Errorf("%s: %s: wanted %s, got %s in the final configuration of %s%s",
				option.Pos(), option.Name, shown(&option), shown(value), p, facts.explain(option)))
			missing = true
		}
		for _, e := range excused {
			if survived {
				problems = append(problems, fmt.Errorf("%s:%d: %s is as requested in %s: remove its exception, or narrow its arches or versions",
					ExceptionsFile, e.Line, option.Name, p))
			}
		}
	}
	if missing {
		problems = append(problems, fmt.Errorf("request the options that the missing ones depend on, or add an exception with a reason to %s", ExceptionsFile))
	}
	return errors.Join(problems...)
}

func (p *Plan) String() string { return "Linux " + p.Version + " for " + p.Arch }

// FactsSuffix ends the name of the file of facts next to a final .config.
const FactsSuffix = ".facts"

// Facts are what the Kconfig files of a kernel tree say about its options, and why
// requested ones are not in the final configuration. assets/kernel/explain.c writes
// them.
type Facts struct {
	// names are the names of all options of the tree, without CONFIG_, sorted.
	names []string
	// about has the facts by option and kind; see kinds.
	about map[string]map[string][]string
}

// ParseFacts reads a file of facts: a line NAME for each option of the tree, and
// lines NAME, a tab, kind, a tab, text. The error names the line.
func ParseFacts(data []byte) (*Facts, error) {
	facts := &Facts{about: map[string]map[string][]string{}}
	for number, line := range lines(data) {
		fields := strings.Split(line, "\t")
		switch {
		case !validName.MatchString("CONFIG_"+fields[0]) || len(fields) != 1 && len(fields) != 3:
			return nil, fmt.Errorf("line %d of the facts about options is %s: want NAME, or NAME, kind and text separated by tabs",
				number, quote(line))
		case len(fields) == 1:
			facts.names = append(facts.names, line)
		default:
			if facts.about[fields[0]] == nil {
				facts.about[fields[0]] = map[string][]string{}
			}
			texts := facts.about[fields[0]]
			texts[fields[1]] = append(texts[fields[1]], fields[2])
		}
	}
	slices.Sort(facts.names)
	return facts, nil
}

// explain says why Linux dropped an option, as the continuation of a message, or "" if the
// facts do not show it.
func (f *Facts) explain(option Option) string {
	if f == nil || len(f.names) == 0 {
		return ""
	}
	name := strings.TrimPrefix(option.Name, "CONFIG_")
	if _, known := slices.BinarySearch(f.names, name); !known {
		return "; Linux has no such option" + f.near(name)
	}
	var texts []string
	for _, kind := range kinds {
		facts := f.about[name][kind.name]
		if len(facts) > 0 && (kind.name != "type" || option.Value != "y" && option.Value != "n") {
			texts = append(texts, "; "+kind.text+strings.Join(facts, " and "))
		}
	}
	return strings.Join(texts, "")
}

// kinds are the kinds of facts, each with the words that introduce it.
var kinds = []struct{ name, text string }{
	{"hidden", "it has no prompt, so that only another option sets it"},
	{"selects", "it is switched on by "},
	{"needs", "it depends on "},
	{"choice", "it is in a choice, which is set to CONFIG_"},
	{"range", "it is a number in the range "},
	{"type", "its type in Linux is "},
}

// near suggests up to three options with names close to an unknown one.
func (f *Facts) near(name string) string {
	const limit = 3
	var found []string
	candidates := slices.Clone(f.names)
	for range limit {
		best := nearest.Of(name, candidates)
		if best == "" {
			break
		}
		found = append(found, "CONFIG_"+best)
		candidates = slices.DeleteFunc(candidates, func(c string) bool { return c == best })
	}
	if len(found) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(found, ", ") + "?"
}
