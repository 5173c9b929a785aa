package kconfig

import (
	"maps"
	"slices"
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
	for _, side := range []struct{ this, other Side }{{a, b}, {b, a}} {
		for _, option := range side.this.Options {
			names[option.Name] = names[option.Name] || !side.this.Final || side.other.Final
		}
	}
	absent := ""
	if a.Final || b.Final {
		absent = "n"
	}
	var differences []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := Difference{Name: name, A: left[name], B: right[name]}
		if names[name] && d.A.value(absent) != d.B.value(absent) {
			differences = append(differences, d)
		}
	}
	return differences
}

func (o *Option) value(absent string) string {
	if o == nil {
		return absent
	}
	return o.Value
}

func byName(options []Option) map[string]*Option {
	found := make(map[string]*Option, len(options))
	for i := range options {
		found[options[i].Name] = &options[i]
	}
	return found
}
