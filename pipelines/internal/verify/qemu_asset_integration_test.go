//go:build integration

package verify_test

import (
	"os"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
)

// TestQEMUTarball looks at the emulator for x86_64 that KATA_TEST_QEMU_TARBALL
// names.
func TestQEMUTarball(t *testing.T) {
	file := os.Getenv("KATA_TEST_QEMU_TARBALL")
	if file == "" {
		t.Skip("KATA_TEST_QEMU_TARBALL names no tarball")
	}
	for _, accelerator := range []string{"", "qtest"} {
		t.Run("accelerator "+accelerator, func(t *testing.T) {
			run := verify.Emulation{Accelerator: accelerator, Timeout: time.Minute, Note: noNote}
			report, err := emulatorOf(t, "x86_64", "").Verify(t.Context(), file, run)
			if err != nil {
				t.Fatal(err)
			}
			for _, check := range report.Checks {
				t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
			}
			if err := report.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}
