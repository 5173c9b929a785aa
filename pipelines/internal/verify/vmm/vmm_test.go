package vmm

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest/guesttest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// monitor returns a monitor for this machine, whose KVM is a file.
func monitor(t *testing.T, kind Kind) Monitor {
	t.Helper()
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if arch == "" {
		t.Skip("no machine is known for " + runtime.GOARCH)
	}
	m := New(kind, arch, string(kind))
	m.device = filepath.Join(t.TempDir(), "kvm")
	require.NoError(t, os.WriteFile(m.device, nil, 0o600))
	return m
}

func verdict(t *testing.T, m Monitor, program string, h host.Host) string {
	t.Helper()
	tarball := verifytest.Tree{m.Program: "#!/bin/sh\n" + program}.Pack(t, m.Program)
	check := verifytest.Find(t, verifytest.Run(t, m, verify.Artifact{Tarball: tarball}, h), "boot")
	return string(check.Verdict) + " " + check.Saw
}

// The programs look at what they are started with, and print what an init says.
func TestBoot(t *testing.T) {
	whole := guesttest.Say(t, serial.Observation{Name: serial.Begin}, serial.Observation{Name: serial.Taint, Value: "0"}, serial.Observation{Name: serial.End})
	tainted := guesttest.Say(t, serial.Observation{Name: serial.Begin}, serial.Observation{Name: serial.Taint, Items: []string{"oops"}}, serial.Observation{Name: serial.End})
	const cloud = `[ "$1 $3 $5" = "--kernel --initramfs --cmdline" ] && [ "$(cat "$2")" = "a vmlinux" ] && [ -s "$4" ] || exit 1
case "$6" in *KATA_VERIFY=brief) ;; *) exit 1 ;; esac
`
	const fire = `[ "$1 $2 $4" = "--no-api --id --config-file" ] || exit 1
grep -q '"boot_args":"[^"]* KATA_VERIFY=restart"' "$5" && [ "$(cat "$(sed 's/.*kernel_image_path":"//; s/".*//' "$5")")" = "a vmlinux" ] || exit 1
`
	for title, test := range map[string]struct {
		kind          Kind
		program, want string
	}{
		"cloud-hypervisor":         {CloudHypervisor, cloud + whole, "passed booted, examined and powered off in "},
		"firecracker":              {Firecracker, fire + whole, "passed booted, examined and powered off in "},
		"tainted":                  {Firecracker, tainted, "failed the kernel found defects: oops"},
		"panic":                    {Firecracker, "echo 'Kernel panic - not syncing: no init'", "failed panic: Kernel panic - not syncing: no init"},
		"refuses the kernel":       {CloudHypervisor, "echo 'no PVH entry' >&2; exit 1", "failed cloud-hypervisor failed: no PVH entry"},
		"ends before the init did": {CloudHypervisor, "echo starting", "failed the guest powered off before its init was done"},
	} {
		t.Run(title, func(t *testing.T) {
			if got := verdict(t, monitor(t, test.kind), test.program, guesttest.Host(t, map[string]string{})); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A machine whose KVM runs no guest says nothing about the monitor.
func TestSkips(t *testing.T) {
	m := monitor(t, Firecracker)
	machine, _ := host.ForArch(m.Arch)
	whole := guesttest.Say(t, serial.Observation{Name: serial.Begin}, serial.Observation{Name: serial.End})
	absent, foreign := m, m
	absent.device += "-is-not-there"
	foreign.Arch = "s390x"
	for title, test := range map[string]struct {
		monitor Monitor
		host    host.Host
		want    string
	}{
		"no boot":            {m, verifytest.NoBoot, "skipped " + verifytest.NoBoot.Skip},
		"no KVM":             {absent, guesttest.Host(t, map[string]string{}), "skipped no KVM: open "},
		"other architecture": {foreign, guesttest.Host(t, map[string]string{}), "skipped KVM of this machine runs no guests for s390x"},
		"KVM without guests": {m, guesttest.Host(t, map[string]string{machine.Program: "echo 'failed to set MSR' >&2; exit 1"}), "skipped KVM does not run guests on this machine, with QEMU either: " + machine.Program + " failed: failed to set MSR"},
		"KVM with guests":    {m, guesttest.Host(t, map[string]string{machine.Program: whole}), "failed firecracker failed: broken"},
	} {
		if got := verdict(t, test.monitor, "echo broken >&2; exit 1", test.host); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", title, got, test.want)
		}
	}
}

func TestNoKernel(t *testing.T) {
	h := guesttest.Host(t, map[string]string{})
	h.Kernel = ""
	if got := verdict(t, monitor(t, CloudHypervisor), "exit 0", h); !strings.HasPrefix(got, string(report.Skipped)+" there is no guest kernel") {
		t.Error(got)
	}
	h.Kernel = verifytest.Tree{"opt/kata/share/kata-containers/vmlinuz-1": "x"}.Pack(t)
	if got := verdict(t, monitor(t, CloudHypervisor), "exit 0", h); !strings.HasSuffix(got, " has no vmlinux") {
		t.Error(got)
	}
}
