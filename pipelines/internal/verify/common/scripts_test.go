package common_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// scripted verifies an asset whose family has a script, and returns the check.
func scripted(t *testing.T, script string) report.Check {
	t.Helper()
	p := proof(catalog.Checks{Scripts: []string{"use.sh"}})
	p.Asset.Folder, p.Arch = "assets/tiny", native(t)
	h := verifytest.Host(t, map[string]string{})
	h.Timeout = 2 * time.Second
	folder := filepath.Join(h.Root, p.Asset.Folder)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.WriteFile(t, filepath.Join(folder, "use.sh"), script)
	files := verifytest.Tree{program: "#!/bin/sh\necho \"program $*\"\n", "opt/kata/data": "data", "opt/kata/bin/link": "-> program"}
	return verifytest.Find(t, verifytest.Run(t, p, verify.Artifact{Tarball: files.Pack(t, program)}, h), "use.sh")
}

func TestScripts(t *testing.T) {
	for title, test := range map[string]struct{ script, want string }{
		"uses all files": {`"$ROOT/opt/kata/bin/link" "$(cat "$ROOT/opt/kata/data")" "$VERSION" "${0##*/}"`, "passed program data v1.2.3 use.sh"},
		"fails":          {"echo 'no mount'; exit 3", "failed exit status 3\nno mount"},
		"skips":          {"echo 'no /dev/fuse'; exit 77", "skipped no /dev/fuse"},
		"says nothing":   {"true", "failed it prints nothing: say what it has seen"},
		"last line":      {"echo working; echo 'all files equal'", "passed all files equal"},
		"skips, last":    {"echo working >&2; echo 'no /dev/fuse'; exit 77", "skipped no /dev/fuse"},
		"never stops":    {"cat /dev/zero", "failed it prints more than 1048576 bytes"},
		"hangs":          {"echo begins; sleep 60", "failed it has not ended after 2s\nbegins"},
		"leaves a child": {"sleep 61 >/dev/null 2>&1 & echo $!", "passed "},
		// The child of the session is not that of the script: it writes its number down.
		"leaves a session": {"setsid sh -c 'echo $$ >pid; exec sleep 62' >/dev/null 2>&1 & until [ -s pid ]; do :; done; cat pid", "passed "},
	} {
		t.Run(title, func(t *testing.T) {
			check := scripted(t, test.script)
			if got := line(check); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !strings.HasPrefix(title, "leaves") {
				return
			}
			if state, err := os.ReadFile("/proc/" + check.Saw + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
				t.Errorf("the child of the script still runs: %s", state)
			}
		})
	}
}
