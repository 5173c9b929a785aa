// Package guesttest has what tests of programs that boot guests need: a machine whose
// tools are scripts, a tarball of a kernel that is not one, and what an init says.
package guesttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// Host returns a machine that compiles an empty init, and has the given scripts in place
// of programs. Its guest kernel is not a kernel.
func Host(t testing.TB, scripts map[string]string) host.Host {
	t.Helper()
	scripts["go"] = `while [ "$1" != -o ]; do shift; done; echo init > "$2"`
	h := verifytest.Host(t, scripts)
	if err := os.MkdirAll(filepath.Join(h.Root, guest.Package), 0o755); err != nil {
		t.Fatal(err)
	}
	const folder = "opt/kata/share/kata-containers/"
	h.Kernel = verifytest.Tree{
		folder + "vmlinuz-1-2": "a vmlinuz", folder + "vmlinux-1-2": "a vmlinux", folder + "vmlinuz.container": "-> vmlinuz-1-2",
	}.Pack(t)
	return h
}

// Say returns a line of shell that prints observations.
func Say(t testing.TB, observations ...serial.Observation) string {
	t.Helper()
	var script strings.Builder
	for _, o := range observations {
		line, err := serial.Encode(o)
		if err != nil {
			t.Fatal(err)
		}
		script.WriteString("cat <<'END'\n" + line + "\nEND\n")
	}
	return script.String()
}
