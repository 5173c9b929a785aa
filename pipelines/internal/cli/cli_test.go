package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReport has a registry's words in an error.
func TestReport(t *testing.T) {
	err := errors.New("pushing: 403: x\n::error::pwned\n\x1b[31mred\r##[error]y")
	for mode, want := range map[string]string{
		"":     "error: pushing: 403: x\n. ::error::pwned\n[31mred\n## [error]y\n",
		"true": "::error::error: pushing: 403: x%0A. ::error::pwned%0A[31mred%0A## [error]y\n",
	} {
		var stderr bytes.Buffer
		Process{Stderr: &stderr, Getenv: func(name string) string {
			if name == "GITHUB_ACTIONS" {
				return mode
			}
			return ""
		}}.report(t.Context(), err)
		if stderr.String() != want {
			t.Errorf("GITHUB_ACTIONS=%s: got %q, want %q", mode, &stderr, want)
		}
	}
}

// TestSummarize: what others wrote to the summary stays.
func TestSummarize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary.md")
	process := Process{Getenv: func(string) string { return path }}
	for range 2 {
		if err := process.summarize("line\n"); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "line\nline\n" {
		t.Errorf("%q, %v", data, err)
	}
	path = t.TempDir()
	if err := process.summarize("line\n"); err == nil || !strings.HasPrefix(err.Error(), "writing $GITHUB_STEP_SUMMARY: ") {
		t.Errorf("a folder: %v", err)
	}
}
