//go:build integration

package qemu

import (
	"os"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// TestQEMUTarball looks at the emulator for x86_64 that KATA_TEST_QEMU_TARBALL
// names.
func TestQEMUTarball(t *testing.T) {
	file := os.Getenv("KATA_TEST_QEMU_TARBALL")
	if file == "" {
		t.Skip("KATA_TEST_QEMU_TARBALL names no tarball")
	}
	for _, accelerator := range []string{"tcg", "kvm"} {
		t.Run("accelerator "+accelerator, func(t *testing.T) {
			h := host.Host{Accelerator: accelerator, Timeout: time.Minute}
			r := verifytest.Run(t, emulatorOf(t, "x86_64", ""), verify.Artifact{Tarball: file}, h)
			for _, check := range r.Checks {
				t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
			}
			if err := r.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}
