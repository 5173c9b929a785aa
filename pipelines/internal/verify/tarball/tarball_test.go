package tarball_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// TestLimits guards against a tarball that fills the memory.
func TestLimits(t *testing.T) {
	const name = "opt/kata/data"
	file := verifytest.Tree{name: "four"}.Pack(t)
	for limit, good := range map[int64]bool{3: false, 4: true, 0: true} {
		layout := tarball.Layout{name: {Mode: 0o644, Max: limit}}
		_, err := layout.Unpack(t.Context(), file, t.TempDir(), nil)
		if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "it has 4 bytes: want 3 at most")) {
			t.Errorf("with a limit of %d: %v", limit, err)
		}
	}
}

// Programs are started where they are unpacked, so files have the modes of members.
func TestUnpack(t *testing.T) {
	const program, data, other = "opt/kata/bin/program", "opt/kata/data", "opt/kata/other"
	files := verifytest.Tree{program: "#!/bin/sh\n", data: "data", other: "other"}
	layout := tarball.Layout{program: {Mode: 0o755}, data: {Mode: 0o644}}
	unpacked, err := layout.Unpack(t.Context(), files.Pack(t, program), t.TempDir(), nil)
	require.NoError(t, err)
	for name, want := range map[string]fs.FileMode{program: 0o755, data: 0o644} {
		if info, err := os.Stat(unpacked.Path(name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v: want %v", name, info, err, want)
		}
	}
	if got := string(unpacked.Read(data)); got != "data" {
		t.Errorf("got %q", got)
	}
	if got := unpacked.Read(other); got != nil || unpacked.Err() != nil {
		t.Errorf("a file that is not of the layout: %q, %v", got, unpacked.Err())
	}
	// A folder cannot be read.
	if got := unpacked.Read("opt/kata"); got != nil || unpacked.Err() == nil {
		t.Errorf("got %q, %v", got, unpacked.Err())
	}
}
