// Package require has what most tests ask for. A test ends at an unexpected error.
package require

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// NoError ends a test at an error.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Error wants an error whose text has all parts.
func Error(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
}

// Golden compares what a test made with a golden file. With the flag -update, the file
// is written.
func Golden[T string | []byte](t testing.TB, file string, got T) {
	t.Helper()
	if *update {
		WriteFile(t, file, string(got))
	}
	want, err := os.ReadFile(file)
	NoError(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got; go test -update writes it):\n%s", file, diff)
	}
}

// WriteFile writes a file, and makes its folder.
func WriteFile(t testing.TB, file, text string) {
	t.Helper()
	NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	NoError(t, os.WriteFile(file, []byte(text), 0o644))
}
