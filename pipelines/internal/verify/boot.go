package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qemu"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/serial"
)

// Boot says how kernels are booted.
type Boot struct {
	// Skip is why no kernel is booted, "" to boot it.
	Skip string
	// Root is the root of the repository, which holds the guest's init.
	Root string
	// LookPath finds programs.
	LookPath func(name string) (string, error)
	// Accelerator is "tcg" or "kvm".
	Accelerator string
	// Timeout is how long a guest may take, and Grace how long it may take to go
	// off at the end or after a panic.
	Timeout, Grace time.Duration
	// Note gets a line about what takes time.
	Note func(string)
}

// run boots the kernel and checks what its init says.
func (b Boot) run(ctx context.Context, report *Report, k Kernel, f *files, dir string) error {
	const name = "boot"
	machine, program, err := b.machine(k, f)
	g := &guest{machine: machine, nonce: rand.Text(), saw: map[string]serial.Observation{}}
	var spec qemu.Guest
	if err == nil {
		spec, err = b.prepare(ctx, g, k, f, dir)
	}
	var missing *errNoTool
	if errors.As(err, &missing) {
		report.Skip(name, "%s", missing.why)
		return nil
	}
	if err != nil {
		return fmt.Errorf("preparing the guest: %w", err)
	}
	b.Note("booting it in " + machine.Program)
	boot := qemu.Boot{Program: program, Args: machine.Args(spec), Timeout: b.Timeout, Watch: g.watch, Grace: b.Grace}
	if g.result, err = boot.Run(ctx); err != nil {
		return fmt.Errorf("booting the kernel: %w", err)
	}
	g.check(report, k, f)
	return nil
}

// machine returns the machine for the kernel, and the path of QEMU; an errNoTool
// says why there is none.
func (b Boot) machine(k Kernel, f *files) (qemu.Machine, string, error) {
	machine, known := qemu.ForArch(k.Arch)
	switch {
	case b.Skip != "":
		return machine, "", &errNoTool{b.Skip}
	case f.vmlinuz == nil || f.vmlinuz.Arch != k.Arch:
		return machine, "", &errNoTool{"no vmlinuz for " + k.Arch + " to boot"}
	case !known:
		return machine, "", &errNoTool{"no machine of QEMU is known for " + k.Arch}
	}
	program, err := b.LookPath(machine.Program)
	if err != nil {
		err = &errNoTool{fmt.Sprintf("no %s on this machine: apt-get install %s", machine.Program, machine.Package)}
	}
	return machine, program, err
}

// prepare makes the files of a guest.
func (b Boot) prepare(ctx context.Context, g *guest, k Kernel, f *files, dir string) (qemu.Guest, error) {
	b.Note("compiling the guest's init for " + k.Arch)
	init, initrd := filepath.Join(dir, "init"), filepath.Join(dir, "initramfs")
	if err := b.buildInit(ctx, catalog.Arch(k.Arch).GoArch(), init); err != nil {
		return qemu.Guest{}, err
	}
	if err := writeInitramfs(initrd, init); err != nil {
		return qemu.Guest{}, err
	}
	g.disk, g.share, g.port = filepath.Join(dir, "disk"), filepath.Join(dir, "share"), filepath.Join(dir, "port")
	if err := os.Mkdir(g.share, 0o755); err != nil {
		return qemu.Guest{}, err
	}
	if err := os.WriteFile(filepath.Join(g.share, serial.FromHost), []byte(g.nonce), 0o644); err != nil {
		return qemu.Guest{}, err
	}
	var missing *errNoTool
	err := b.makeDisk(ctx, dir, g.disk, g.nonce)
	if errors.As(err, &missing) {
		g.noDisk = missing.why
	} else if err != nil {
		return qemu.Guest{}, err
	}
	if g.diskSum, err = sum(g.disk); err != nil {
		return qemu.Guest{}, err
	}
	if qemu.HasVsock() {
		// Any address that is not one of the first three; another guest of the
		// machine may have it, which QEMU says.
		const base, span = 1 << 16, 1 << 20
		g.cid = base + uint32(os.Getpid())%span
	}
	return qemu.Guest{
		Kernel: f.path, Initrd: initrd, Accelerator: b.Accelerator,
		Disk: g.disk, Share: g.share, ShareTag: serial.ShareTag,
		Port: g.port, PortName: serial.PortName, Vsock: g.cid,
	}, nil
}
