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

// parseFinal returns the options of a final .config by name.
func parseFinal(data []byte) (map[string]*Option, error) {
	options, err := ParseConfig("the final configuration", data)
	return byName(options), err
}

// shown is an option's value as a .config shows it.
func shown(o *Option) string {
	switch {
	case o == nil:
		return "nothing (absent)"
	case o.Value == "n":
		return "not set"
	}
	return o.Value
}
