//go:build integration

package kernel

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// root is that of the repository.
const root = "../../../.."

func machine(t *testing.T) host.Host {
	t.Helper()
	absolute, err := filepath.Abs(root)
	require.NoError(t, err)
	return host.Host{Root: absolute, Accelerator: "tcg", Timeout: 5 * time.Minute, Grace: 15 * time.Second}
}

// lookAt verifies the tarball of a file.
func lookAt(t *testing.T, file string, k Kernel, h host.Host) *report.Report {
	t.Helper()
	return verifytest.Run(t, k, verify.Artifact{Arch: k.Arch, Tarball: file}, h)
}

// TestInitCompiles compiles the guest's init for every architecture that a
// machine is known for.
func TestInitCompiles(t *testing.T) {
	for _, arch := range catalog.Arches() {
		if _, known := host.ForArch(string(arch)); !known {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(t.TempDir(), "init"), "./"+guest.Package)
		cmd.Dir = root
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOARCH="+arch.GoArch())
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", arch, err, output)
		}
	}
}

// tarball returns the one that KATA_TEST_KERNEL_TARBALL names, and the kernel
// that the names of its members say it is, of this machine's architecture.
func realKernel(t *testing.T) (string, Kernel) {
	t.Helper()
	file := os.Getenv("KATA_TEST_KERNEL_TARBALL")
	if file == "" {
		t.Skip("KATA_TEST_KERNEL_TARBALL names no tarball of a kernel for this machine")
	}
	opened, err := os.Open(file)
	require.NoError(t, err)
	defer opened.Close()
	members, err := archive.List(opened)
	require.NoError(t, err)
	named := regexp.MustCompile(`^vmlinuz-(.+)-(\d+)(?:-([a-z-]+))?$`)
	for _, member := range members {
		m := named.FindStringSubmatch(path.Base(member.Name))
		if m == nil {
			continue
		}
		number, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		arch := catalog.HostArch()
		return file, Kernel{
			Arch: string(arch), Suffix: m[3],
			Plan: &kconfig.Plan{Arch: arch.Kernel(), Version: "v" + m[1], ConfigVersion: number, Requested: requested(t, "CONFIG_64BIT=y\n")},
		}
	}
	t.Fatalf("no vmlinuz among %d members", len(members))
	return "", Kernel{}
}

func TestRealKernel(t *testing.T) {
	file, k := realKernel(t)
	r := lookAt(t, file, k, machine(t))
	for _, check := range r.Checks {
		t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
		if check.Verdict == report.Failed {
			t.Errorf("%s failed\n%s", check.Name, strings.Join(check.Console, "\n"))
		}
	}
	for _, name := range []string{"boot", "virtio-blk", "virtio-net", "virtio-9p", "mount overlay", "mount ext4", "cgroup v2"} {
		if check := verifytest.Find(t, r, name); check.Verdict != report.Passed {
			t.Errorf("%s: %s", name, check.Verdict)
		}
	}
	if k.Suffix == "debug" {
		if check := verifytest.Find(t, r, "BPF event"); check.Verdict != report.Passed {
			t.Errorf("BPF event: %s", check.Verdict)
		}
	}
}

// A guest that runs out of time counts as a hang, and leaves no QEMU behind.
func TestRealKernelHangs(t *testing.T) {
	file, k := realKernel(t)
	short := machine(t)
	short.Timeout = 1500 * time.Millisecond
	r := lookAt(t, file, k, short)
	if check := verifytest.Find(t, r, "boot"); check.Verdict != report.Failed || !strings.HasPrefix(check.Saw, "hang: ") {
		t.Errorf("%s: %s", check.Verdict, check.Saw)
	}
}

// A kernel whose init cannot run panics, and the console says so.
func TestRealKernelPanics(t *testing.T) {
	file, k := realKernel(t)
	dir := t.TempDir()
	compiler := filepath.Join(dir, "go")
	require.NoError(t, os.WriteFile(compiler, []byte("#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done; echo nonsense > \"$2\"\n"), 0o755))
	broken := machine(t)
	broken.Tools = dir
	for _, name := range []string{"qemu-system-x86_64", "qemu-system-aarch64", "mke2fs"} {
		if path, err := exec.LookPath(name); err == nil {
			require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
		}
	}
	r := lookAt(t, file, k, broken)
	check := verifytest.Find(t, r, "boot")
	if check.Verdict != report.Failed || !strings.HasPrefix(check.Saw, "panic: Kernel panic - not syncing") {
		t.Errorf("%s: %s", check.Verdict, check.Saw)
	}
	if !slices.ContainsFunc(check.Console, func(line string) bool { return strings.Contains(line, "Kernel panic") }) {
		t.Errorf("the console is %q", check.Console)
	}
	if runtime.GOARCH == "amd64" && r.Failed != 1 {
		t.Errorf("%d checks failed", r.Failed)
	}
}
