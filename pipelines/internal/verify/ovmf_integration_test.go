//go:build integration

package verify_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
)

// TestRealFirmware looks at the tarballs that KATA_TEST_OVMF_TARBALLS lists, each
// as ASSET:ARCH:FILE, with blanks between them.
func TestRealFirmware(t *testing.T) {
	list := strings.Fields(os.Getenv("KATA_TEST_OVMF_TARBALLS"))
	if len(list) == 0 {
		t.Skip("KATA_TEST_OVMF_TARBALLS names no tarballs of firmware")
	}
	for _, item := range list {
		parts := strings.SplitN(item, ":", 3)
		if len(parts) != 3 {
			t.Fatalf("%q is not ASSET:ARCH:FILE", item)
		}
		t.Run(parts[0]+" "+parts[1], func(t *testing.T) {
			report, err := verify.OVMF{Asset: parts[0], Arch: parts[1], Version: edk2}.Verify(t.Context(), parts[2], boot(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range report.Checks {
				t.Logf("%s  %s\n%s", c.Verdict, c.Name, c.Saw)
				if c.Verdict == verify.Failed {
					t.Errorf("%s failed: %s\n%s", c.Name, c.Saw, strings.Join(c.Console, "\n"))
				}
			}
		})
	}
}
