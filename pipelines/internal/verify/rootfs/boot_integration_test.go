//go:build integration

package rootfs

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// lab is this machine with the kernel that KATA_TEST_KERNEL_TARBALL names, and otherwise with
// the distribution's, whose files are in the folder.
func lab(t *testing.T) (h host.Host, folder string) {
	t.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	kernel := os.Getenv("KATA_TEST_KERNEL_TARBALL")
	if kernel == "" {
		kernel, folder = distributionKernel(t)
	}
	return host.Host{
		Root: root, Cache: filepath.Join(cache, "kata-pipelines", "test-tools"), Kernel: kernel,
		Accelerator: "tcg", Timeout: 3 * time.Minute, Grace: 15 * time.Second,
	}, folder
}

// TestStandIn boots an initrd in which the stand-in is the first process. KATA_TEST_ARCH is the
// architecture of the kernel that KATA_TEST_KERNEL_TARBALL names, as `uname -m` prints it, if it
// is not this machine's.
func TestStandIn(t *testing.T) {
	h, kernel := lab(t)
	dir := t.TempDir()
	arch := catalog.Arch(cmp.Or(os.Getenv("KATA_TEST_ARCH"), string(catalog.HostArch())))
	program := filepath.Join(dir, "standin")
	if err := h.GoBuild(t.Context(), h.Root, []string{"GOOS=linux", "GOARCH=" + arch.GoArch()}, "-o", program, "./pipelines/internal/verify/rootfs/standin"); err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, standInInitrd(t, h, kernel, program), 0o600); err != nil {
		t.Fatal(err)
	}
	r := bootOne(t, bootable{Host: h, arch: string(arch), dir: dir, initrd: initrd})
	if r.Passed != 2 || r.Failed+r.Skipped != 0 {
		t.Errorf("%+v", r.Checks)
	}
}

func bootOne(t *testing.T, b bootable) *report.Report {
	t.Helper()
	r := &report.Report{}
	if err := b.boot(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, check := range r.Checks {
		t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
		for _, line := range check.Console {
			t.Log(line)
		}
	}
	return r
}
