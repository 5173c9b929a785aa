package kconfig

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

var (
	assignment = regexp.MustCompile(`^(CONFIG_[A-Za-z0-9_]+)=(.*)$`)
	unset      = regexp.MustCompile(`^# (CONFIG_[A-Za-z0-9_]+) is not set$`)
	// Linux reads these as comments, but their author meant statements.
	almostUnset = regexp.MustCompile(`(?i)^#\s*CONFIG_\w+\s+is\s+not\s+set\W*$`)
	// Kata's build excludes a fragment with such a line from the named architectures.
	exclusion = regexp.MustCompile(`^#\s*!\s*\w`)
	// Exactly as Linux writes them: another escape or a leading zero would look different
	// in the final .config.
	validValue = regexp.MustCompile(`^(?:[ymn]|-?(?:0|[1-9][0-9]*)|0[xX][0-9a-fA-F]+|"(?:[^"\\\x00-\x1f]|\\["\\])*")$`)
	validName  = regexp.MustCompile(`^CONFIG_[A-Za-z0-9_]+$`)
)

// read returns the valid options of fragments, in the order of their lines, and an error
// for everything else in them.
func read(tree fs.FS, files []string) (options []Option, problems []error) {
	for _, file := range files {
		data, err := fs.ReadFile(tree, file)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", file, strictyaml.Cause(err)))
			continue
		}
		found, wrong := parse(file, data)
		options, problems = append(options, found...), append(problems, wrong...)
	}
	return options, problems
}

// parse returns the options of a fragment in the order of its lines, duplicates
// included, and its problems.
func parse(file string, data []byte) ([]Option, []error) {
	if i := bytes.Index(data, []byte("\r\n")); i >= 0 {
		return nil, []error{fmt.Errorf("%s:%d: the lines end in CR LF, as on Windows: check the file out again, or convert it with dos2unix",
			file, 1+bytes.Count(data[:i], []byte("\n")))}
	}
	var options []Option
	var problems []error
	for number, line := range lines(data) {
		option := Option{Path: file, Line: number}
		var ok bool
		option.Name, option.Value, ok = split(line)
		switch {
		case exclusion.MatchString(line):
			problems = append(problems, fmt.Errorf("%s: %s leaves architectures out in Kata's build, but not here: move the fragment to a folder for each architecture it is for, such as %s",
				option.Pos(), quote(line), path.Join(path.Dir(file), "x86_64")))
		case !ok || almostUnset.MatchString(line) && option.Name == "":
			problems = append(problems, fmt.Errorf("%s: %s is not a statement: want CONFIG_NAME=value or # CONFIG_NAME is not set, without blanks around it",
				option.Pos(), quote(line)))
		case option.Name == "":
		case !validValue.MatchString(option.Value):
			problems = append(problems, fmt.Errorf("%s: %s has the value %s: want y, m, n, a number, 0x and hex digits, or a \"string\"",
				option.Pos(), option.Name, quote(option.Value)))
		default:
			options = append(options, option)
		}
	}
	return options, problems
}

// split parses a line of a .config. The name is empty for a comment and a blank
// line; ok is false for anything that is not one of the four kinds of line.
func split(line string) (name, value string, ok bool) {
	if m := assignment.FindStringSubmatch(line); m != nil {
		return m[1], m[2], true
	}
	if m := unset.FindStringSubmatch(line); m != nil {
		return m[1], "n", true
	}
	return "", "", strings.TrimSpace(line) == "" || line[0] == '#'
}

// Statement is the line of a .config that sets an option.
func Statement(name, value string) string {
	if value == "n" {
		return "# " + name + " is not set"
	}
	return name + "=" + value
}

// lines yields the lines of a file, numbered from 1, without LF or CRLF.
func lines(data []byte) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.Lines(string(data)) {
			number++
			if !yield(number, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")) {
				return
			}
		}
	}
}

// quote quotes a piece of input, shortened because it can be anything.
func quote(text string) string {
	const limit = 60
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "..."
	}
	return fmt.Sprintf("%q", text)
}

// Statements returns the options of a file that is written like a .config, in the order
// of its lines; one that is "not set" has the value n. Path is the place in the options
// and the name of the file in the error. The error is about the first line that is not a
// statement; the options are those of all others.
func Statements(path string, data []byte) (options []Option, err error) {
	for number, line := range lines(data) {
		name, value, ok := split(line)
		if !ok && err == nil {
			err = fmt.Errorf("%s, line %d: %s is not a statement: is it a .config?", path, number, quote(line))
		}
		if name != "" {
			options = append(options, Option{Name: name, Value: value, Path: path, Line: number})
		}
	}
	return options, err
}

// ParseConfig returns the options of a .config as Linux writes it, sorted by name; a file
// without options is an error. See Statements.
func ParseConfig(path string, data []byte) ([]Option, error) {
	options, err := Statements(path, data)
	if err == nil && len(options) == 0 {
		err = fmt.Errorf("%s has no options: is it a .config?", path)
	}
	slices.SortStableFunc(options, func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
	return options, err
}

// parseFinal returns the options of a final .config by name.
func parseFinal(data []byte) (map[string]*Option, error) {
	options, err := ParseConfig("the final configuration", data)
	return byName(options), err
}

func shown(o *Option) string {
	switch {
	case o == nil:
		return "nothing (absent)"
	case o.Value == "n":
		return "not set"
	}
	return o.Value
}
