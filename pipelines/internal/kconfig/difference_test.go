package kconfig

import (
	"fmt"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	requested := func(lines ...string) Side { return Side{Options: options(t, lines)} }
	final := func(lines ...string) Side { return Side{Options: options(t, lines), Final: true} }
	for name, test := range map[string]struct {
		a, b Side
		want string
	}{
		"equal sets": {requested("CONFIG_A=y"), requested("CONFIG_A=y"), ""},
		"two sets": {
			requested("CONFIG_A=y", "CONFIG_B=y", "# CONFIG_D is not set"),
			requested("CONFIG_A=m", "CONFIG_C=y"),
			"A y m, B y -, C - y, D n -",
		},
		"a set that requests less": {requested("# CONFIG_A is not set"), requested("CONFIG_A=y"), "A n y"},
		"a file, where only requested options count": {
			requested("CONFIG_A=y", "CONFIG_B=y", "# CONFIG_C is not set"),
			final("CONFIG_B=y", "CONFIG_X=y", "# CONFIG_A is not set"),
			"A y n",
		},
		"a file first":                 {final("CONFIG_X=y"), requested("CONFIG_A=y"), "A - y"},
		"two files, absent is not set": {final("CONFIG_A=y", "# CONFIG_B is not set"), final("CONFIG_A=m", "CONFIG_C=4"), "A y m, C - 4"},
		"nothing":                      {Side{}, Side{}, ""},
	} {
		var got []string
		for _, d := range Compare(test.a, test.b) {
			got = append(got, fmt.Sprintf("%s %s %s", strings.TrimPrefix(d.Name, "CONFIG_"), value(d.A), value(d.B)))
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("%s: got %q, want %q", name, text, test.want)
		}
	}
}

func options(t *testing.T, lines []string) []Option {
	t.Helper()
	options, problems := parse("a.conf", []byte(strings.Join(lines, "\n")))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return options
}

func value(o *Option) string {
	if o == nil {
		return "-"
	}
	return o.Value
}

func TestParseConfigRefuses(t *testing.T) {
	for name, data := range map[string]string{"nothing": "", "another file": "CONFIG_A=y\nhello\n", "only comments": "# Linux\n"} {
		if _, err := ParseConfig("some/.config", []byte(data)); err == nil || !strings.Contains(err.Error(), "some/.config") {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
}
