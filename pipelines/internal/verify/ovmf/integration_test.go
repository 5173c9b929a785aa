//go:build integration

package ovmf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// TestRealFirmware verifies the tarballs that KATA_TEST_OVMF_TARBALLS lists, each
// as ASSET:ARCH:FILE, with blanks between them.
func TestRealFirmware(t *testing.T) {
	list := strings.Fields(os.Getenv("KATA_TEST_OVMF_TARBALLS"))
	if len(list) == 0 {
		t.Skip("KATA_TEST_OVMF_TARBALLS names no tarballs of firmware")
	}
	root, err := filepath.Abs("../../../..")
	require.NoError(t, err)
	h := host.Host{Root: root, Accelerator: "tcg", Timeout: 5 * time.Minute, Grace: 15 * time.Second}
	for _, item := range list {
		parts := strings.SplitN(item, ":", 3)
		if len(parts) != 3 {
			t.Fatalf("%q is not ASSET:ARCH:FILE", item)
		}
		t.Run(parts[0]+" "+parts[1], func(t *testing.T) {
			f, err := New(parts[0], parts[1], edk2)
			require.NoError(t, err)
			r := verifytest.Run(t, f, verify.Artifact{Asset: parts[0], Arch: parts[1], Tarball: parts[2]}, h)
			for _, c := range r.Checks {
				t.Logf("%s  %s\n%s", c.Verdict, c.Name, c.Saw)
				if c.Verdict == report.Failed {
					t.Errorf("%s failed: %s\n%s", c.Name, c.Saw, strings.Join(c.Console, "\n"))
				}
			}
		})
	}
}
