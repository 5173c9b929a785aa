package kconfig

import (
	"slices"
	"strings"
)

// Side is one of two configurations that Compare compares.
type Side struct {
	Options []Option
	// Final is true for a .config, which has a value for every option of its
	// kernel: absent means not set. A requested set has only requested options.
	Final bool
}

// Difference is an option that differs between two sides. A side without the option
// is nil.
type Difference struct {
	Name string  `json:"name"`
	A    *Option `json:"a"`
	B    *Option `json:"b"`
}

// Compare returns the options that differ between two sides, sorted by name. If one
// side is a .config, "not set" and absent are the same; if the other is a requested
// set, only the requested options count.
func Compare(a, b Side) []Difference {
	left, right := byName(a.Options), byName(b.Options)
	names := map[string]bool{}
	for _, side := range []struct {
		options      []Option
		final, other bool
	}{{a.Options, a.Final, b.Final}, {b.Options, b.Final, a.Final}} {
		for _, option := range side.options {
			if !side.final || side.other {
				names[option.Name] = true
			}
		}
	}
	var differences []Difference
	for name := range names {
		d := Difference{Name: name, A: left[name], B: right[name]}
		if d.A.valueIn(a, b) != d.B.valueIn(a, b) {
			differences = append(differences, d)
		}
	}
	slices.SortFunc(differences, func(x, y Difference) int { return strings.Compare(x.Name, y.Name) })
	return differences
}

// valueIn is the value of an option for a comparison of two sides.
func (o *Option) valueIn(a, b Side) string {
	switch {
	case o != nil:
		return o.Value
	case a.Final || b.Final:
		return "n"
	}
	return ""
}

func byName(options []Option) map[string]*Option {
	found := make(map[string]*Option, len(options))
	for i := range options {
		found[options[i].Name] = &options[i]
	}
	return found
}
