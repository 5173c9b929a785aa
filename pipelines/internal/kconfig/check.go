package kconfig

import (
	"errors"
	"fmt"
)

// Check holds a final .config against the set: every requested option is in it
// by exact name and value, where n is also met by absence. An option may only
// miss where an exception applies to the architecture and version, and no
// exception that applies may be there for an option that did not miss.
//
// The error has a line for each option, with what was wanted and what there is
// instead, and a last one that tells what to do.
func (s *Set) Check(final []byte, exceptions []Exception, kernelArch, version string) error {
	got, err := parseFinal(final)
	if err != nil {
		return err
	}
	applying, err := applying(exceptions, kernelArch, version)
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
			problems = append(problems, fmt.Errorf("%s: %s: wanted %s, got %s in the final configuration of %s",
				option.pos(), option.Name, shown(option.Value, true), shown(value, there), kernel))
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
	applying, err := applying(exceptions, kernelArch, version)
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

// applying returns the exceptions for one kernel, by option.
func applying(exceptions []Exception, kernelArch, version string) (map[string][]Exception, error) {
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

// parseFinal returns the options of a .config that Linux wrote, with whatever
// values; those that are "not set" are n.
func parseFinal(data []byte) (map[string]string, error) {
	options := map[string]string{}
	for number, line := range lines(data) {
		name, value, ok := split(line)
		if !ok {
			return nil, fmt.Errorf("the final configuration has no statement on line %d, but %s: is it a .config?", number, quote(line))
		}
		if name != "" {
			options[name] = value
		}
	}
	if len(options) == 0 {
		return nil, errors.New("the final configuration has no options: is it a .config?")
	}
	return options, nil
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
