package kconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Check holds a final .config against the set: every requested option is in it
// by exact name and value, where n is also met by absence. An option may only
// miss where an exception applies to the architecture and version, and no
// exception that applies may be there for an option that did not miss.
//
// The error has a line for each option, with what was wanted and what there is
// instead, and a last one that tells what to do.
func (s *Set) Check(final []byte, exceptions []Exception, kernelArch, version string) error {
	return s.CheckExplained(final, nil, exceptions, kernelArch, version)
}

// CheckExplained is Check with the facts that the configured tree has about its
// options: the line of a missing one says that Linux does not know it, and what
// is written like it, or which dependency is not met. Facts may be nil.
func (s *Set) CheckExplained(final []byte, facts *Facts, exceptions []Exception, kernelArch, version string) error {
	got, err := parseFinal(final)
	if err != nil {
		return err
	}
	applying, err := Applying(exceptions, kernelArch, version)
	if err != nil {
		return err
	}
	kernel := "Linux " + version + " for " + kernelArch
	var problems []error
	missing := false
	for _, option := range s.Options {
		value, there := got[option.Name]
		survived := value == option.Value || option.Value == "n" && !there
		excused := applying[option.Name]
		if !survived && len(excused) == 0 {
			problems = append(problems, fmt.Errorf("%s: %s: wanted %s, got %s in the final configuration of %s%s",
				option.Pos(), option.Name, shown(option.Value, true), shown(value, there), kernel, facts.explain(option)))
			missing = true
		}
		for _, e := range excused {
			if survived {
				problems = append(problems, fmt.Errorf("%s:%d: %s is as requested in %s: remove its exception, or narrow its arches or versions",
					ExceptionsFile, e.Line, option.Name, kernel))
			}
		}
	}
	if missing {
		problems = append(problems, fmt.Errorf("request the options that the missing ones depend on, or add an exception with a reason to %s", ExceptionsFile))
	}
	return errors.Join(problems...)
}

// Tolerated returns the names of the requested options for which an exception
// applies, sorted and never nil. No range of versions holds a version that is
// none of Linux; Check reports it.
func Tolerated(s *Set, exceptions []Exception, kernelArch, version string) []string {
	names := []string{}
	applying, err := Applying(exceptions, kernelArch, version)
	if err != nil {
		return names
	}
	for _, option := range s.Options {
		if len(applying[option.Name]) > 0 {
			names = append(names, option.Name)
		}
	}
	return names
}

// Applying returns the exceptions that hold for one kernel, by option. The error
// is a version that is none of Linux.
func Applying(exceptions []Exception, kernelArch, version string) (map[string][]Exception, error) {
	parsed, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	byOption := map[string][]Exception{}
	for _, e := range exceptions {
		bounds, err := parseRange(e.Versions)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", ExceptionsFile, e.Line, err)
		}
		inside := e.shares(Exception{Arches: []string{kernelArch}})
		for _, b := range bounds {
			inside = inside && b.holds(parsed)
		}
		if inside {
			byOption[e.Option] = append(byOption[e.Option], e)
		}
	}
	return byOption, nil
}

// ParseConfig returns the options of a .config as Linux writes it, sorted by
// name, those that are "not set" with the value n. Path is what the options say
// about where they are from, and how the error names the file.
func ParseConfig(path string, data []byte) ([]Option, error) {
	var options []Option
	for number, line := range lines(data) {
		name, value, ok := split(line)
		if !ok {
			return nil, fmt.Errorf("%s has no statement on line %d, but %s: is it a .config?", path, number, quote(line))
		}
		if name != "" {
			options = append(options, Option{Name: name, Value: value, Path: path, Line: number})
		}
	}
	if len(options) == 0 {
		return nil, fmt.Errorf("%s has no options: is it a .config?", path)
	}
	slices.SortStableFunc(options, func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
	return options, nil
}

// parseFinal returns the values of a final .config by name.
func parseFinal(data []byte) (map[string]string, error) {
	options, err := ParseConfig("the final configuration", data)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(options))
	for _, option := range options {
		values[option.Name] = option.Value
	}
	return values, nil
}

// shown is the value of an option as a user knows it from a .config.
func shown(value string, there bool) string {
	switch {
	case !there:
		return "nothing (absent)"
	case value == "n":
		return "not set"
	default:
		return value
	}
}
