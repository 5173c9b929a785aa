package versions

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// load reads a versions.yaml and its lock.
func load(t *testing.T, pins, lock string) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pins.yaml")
	require.NoError(t, os.WriteFile(path, []byte(pins), 0o600))
	f, err := Load(path, fstest.MapFS{LockFile: {Data: []byte(lock)}})
	if err == nil {
		f.Path = "pins.yaml"
	}
	return f, err
}

// must is load for files without problems.
func must(t *testing.T, pins, lock string) *File {
	t.Helper()
	f, err := load(t, pins, lock)
	require.NoError(t, err)
	return f
}

// A file of the shape of Kata's own has pins wherever there are strings.
func TestKata(t *testing.T) {
	f, err := Load("testdata/kata.yaml", fstest.MapFS{})
	require.NoError(t, err)
	var text strings.Builder
	for _, path := range f.Pins() {
		value, err := f.Pin(path)
		if err != nil {
			value = err.Error()
		}
		text.WriteString(path + " = " + value + "\n")
	}
	require.Golden(t, "testdata/kata.golden", text.String())
	if sources := f.Sources(); len(sources) != 0 {
		t.Errorf("sources: %v, want none", sources)
	}
}

// What nothing can be read of, or would be read as something else, is refused.
func TestBadFiles(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty":           {"", ": the file is empty"},
		"comments":        {"# nothing\n", ": the file is empty"},
		"list":            {"- assets\n", ":1: not a versions.yaml: want a mapping of groups such as assets"},
		"two documents":   {"assets: {}\n---\nassets: {}\n", ": more than one document in the file"},
		"duplicate key":   {"assets:\n  a: {version: \"1\"}\n  a: {version: \"2\"}\n", `:3: mapping key "a" already defined at line 2`},
		"syntax":          {"assets:\n  a: b: c\n", ":2: mapping values are not allowed in this context"},
		"not UTF-8":       {"# caf\xe9\nassets: {}\n", ": "},
		"cycle":           {"assets: &a\n  b: *a\n", ": anchor 'a' value contains itself"},
		"unknown alias":   {"assets: *a\n", ": unknown anchor 'a' referenced"},
		"endless aliases": {bomb(), ": document contains excessive aliasing"},
		"too large":       {strings.Repeat("# text\n", maxSize/7+1), ": 1048579 bytes, want at most 1048576"},
	} {
		_, err := Parse("f", []byte(test.text))
		if err == nil || !strings.HasPrefix(err.Error(), "f"+test.want) {
			t.Errorf("%s: %v, want f%s", name, err, test.want)
		}
	}
}

// bomb is a file whose aliases make a million values of a few.
func bomb() string {
	var text strings.Builder
	text.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 7; i++ {
		fmt.Fprintf(&text, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return text.String()
}

func TestUnfitFiles(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	require.NoError(t, os.WriteFile(large, bytes.Repeat([]byte("# text\n"), maxSize/7+1), 0o644))
	for _, test := range []struct{ file, want string }{
		{large, ": not readable: larger than 1.0 MiB; give"},
		{dir, ": not readable: " + dir + " is a folder, not a regular file; give"},
		{filepath.Join(dir, "none.yaml"), ": not readable: no such file or directory; give"},
	} {
		if _, err := Load(test.file, fstest.MapFS{}); err == nil || !strings.HasPrefix(err.Error(), test.file+test.want) {
			t.Errorf("Load: %v, want %s%s", err, test.file, test.want)
		}
	}
}

// Values that YAML reads as something other than what is written are refused where they
// are used, and ignored where only Kata uses them.
func TestPinsNotStrings(t *testing.T) {
	f := must(t, `assets:
  a:
    float: 1.10
    int: 3
    date: 2026-03-02
    bool: true
    null:
    empty: ""
    list: ["v1"]
    sequence:
      - "v1"
`, "{}")
	for name, want := range map[string]string{
		"float":    `pins.yaml:3: assets.a.float is not a string; quote it: "1.10"`,
		"int":      `pins.yaml:4: assets.a.int is not a string; quote it: "3"`,
		"date":     `pins.yaml:5: assets.a.date is not a string; quote it: "2026-03-02"`,
		"bool":     `pins.yaml:6: assets.a.bool is not a string; quote it: "true"`,
		"null":     `pins.yaml:7: assets.a.null is empty; write a value or remove the key`,
		"empty":    `pins.yaml:8: assets.a.empty is empty; write a value or remove the key`,
		"list":     `pins.yaml:9: assets.a.list is a list; write one string`,
		"sequence": `pins.yaml:11: assets.a.sequence is a list; write one string`,
	} {
		if value, err := f.Pin("assets.a." + name); err == nil || err.Error() != want {
			t.Errorf("%s: %q, %v, want %s", name, value, err, want)
		}
	}
}
