package kconfig

import (
	"fmt"
	"slices"
	"strings"
)

// ParseConfig returns the options of a .config as Linux writes it, sorted by name;
// one that is "not set" has the value n. Path is the place in the options and the
// name of the file in the error.
func ParseConfig(path string, data []byte) ([]Option, error) {
	var options []Option
	for number, line := range lines(data) {
		name, value, ok := split(line)
		if !ok {
			return nil, fmt.Errorf("%s, line %d: %s is not a statement: is it a .config?", path, number, quote(line))
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

// shown is the value of an option as a .config shows it.
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
