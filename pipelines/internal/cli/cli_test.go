package cli

import (
	"bytes"
	"errors"
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
