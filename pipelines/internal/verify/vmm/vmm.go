// Package vmm verifies virtual machine monitors that need KVM: they boot a guest kernel of
// this tree, whose init reports that it ran.
package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Kind is a monitor that this package can start.
type Kind string

// The monitors.
const (
	CloudHypervisor Kind = "cloud-hypervisor"
	Firecracker     Kind = "firecracker"
)

// Monitor is a monitor of the tree.
type Monitor struct {
	Kind Kind
	// Arch is its architecture as `uname -m` prints it, and Program its path in the
	// tarball.
	Arch, Program string
	// device is that of KVM.
	device string
}

// New returns a monitor of an asset, whose program has the name of the asset.
func New(kind Kind, arch, asset string) Monitor {
	return Monitor{Kind: kind, Arch: arch, Program: "opt/kata/bin/" + asset, device: "/dev/kvm"}
}

// Layout has the program, which is not all of the tarball.
func (m Monitor) Layout() tarball.Layout {
	return tarball.Layout{m.Program: {Mode: 0o755, Max: 1 << 30}}
}

// Checks is the one of the guest.
func (Monitor) Checks() []string { return []string{"boot"} }

// Check boots a guest.
func (m Monitor) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	check, err := m.boot(ctx, t, h)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		r.Result("boot", "", err)
	default:
		r.Add(check)
	}
	return nil
}

func (m Monitor) boot(ctx context.Context, t *tarball.Tarball, h host.Host) (report.Check, error) {
	machine, known := host.ForArch(m.Arch)
	switch err := host.Usable(m.device); {
	case h.Skip != "":
		return report.Check{}, report.Missing(h.Skip)
	case !known || catalog.Arch(m.Arch).GoArch() != runtime.GOARCH:
		return report.Check{}, report.Missing("KVM of this machine runs no guests for " + m.Arch)
	case err != nil:
		return report.Check{}, report.Missing(fmt.Sprintf("no KVM: %v", err))
	}
	h.Accelerator = "kvm"
	files, err := guest.Files(ctx, h, m.Arch, "vmlinux", t.Dir)
	if err != nil {
		return report.Check{}, err
	}
	if err := control(ctx, h, m.Arch, files); err != nil {
		return report.Check{}, err
	}
	args, err := m.arguments(files, machine.Console, t.Dir)
	if err != nil {
		return report.Check{}, err
	}
	h.Note("booting a guest in " + filepath.Base(m.Program))
	machine.Program = m.Program
	return run(ctx, h, machine, t.Path(m.Program), args)
}

func run(ctx context.Context, h host.Host, machine host.Machine, program string, args []string) (report.Check, error) {
	console := guest.NewConsole()
	result, err := h.Boot(ctx, program, args, console.Line)
	if err != nil {
		return report.Check{}, err
	}
	check := console.Booted(machine, result)
	if err := console.Defects(); check.Verdict == report.Passed && err != nil {
		check.Verdict, check.Saw = report.Failed, err.Error()
	}
	return check, nil
}

// control boots the same guest with this machine's QEMU. If QEMU cannot, KVM is to blame: a
// machine can have the device and run no guests, as in a virtual machine that emulates
// only a part of it. The error is a report.Missing then.
func control(ctx context.Context, h host.Host, arch string, files host.Guest) error {
	const most = 30 * time.Second
	machine, program, err := h.MachineFor(arch)
	if _, skipped := report.AsMissing(err); skipped {
		return nil // Without QEMU there is nothing to compare with.
	}
	h.Timeout = min(h.Timeout, most)
	check, err := run(ctx, h, machine, program, machine.Brief(files, "", serial.Brief))
	if err == nil && check.Verdict != report.Passed {
		err = report.Missing("KVM does not run guests on this machine, with QEMU either: " + check.Saw)
	}
	return err
}

func (m Monitor) arguments(files host.Guest, console, dir string) ([]string, error) {
	if m.Kind == CloudHypervisor {
		return []string{
			"--kernel", files.Kernel, "--initramfs", files.Initrd, "--cmdline", "console=" + console + " panic=-1 " + serial.Brief,
			"--serial", "tty", "--console", "off", "--cpus", fmt.Sprintf("boot=%d", host.Processors), "--memory", "size=512M",
		}, nil
	}
	type object = map[string]any
	config, err := json.Marshal(object{
		// Firecracker has no ACPI to turn a machine off with; the keyboard controller
		// restarts it, which ends Firecracker.
		"boot-source": object{
			"kernel_image_path": files.Kernel, "initrd_path": files.Initrd,
			"boot_args": "console=ttyS0 reboot=k panic=-1 pci=off " + serial.BriefRestart,
		},
		"drives":         []object{},
		"machine-config": object{"vcpu_count": host.Processors, "mem_size_mib": 512},
	})
	file := filepath.Join(dir, "firecracker.json")
	return []string{"--no-api", "--id", "kata-verify", "--config-file", file}, errors.Join(err, os.WriteFile(file, config, 0o644))
}
