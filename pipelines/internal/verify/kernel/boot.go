package kernel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	digest "github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// boot boots the kernel and checks what its init reports.
func (f *files) boot(ctx context.Context, h host.Host) error {
	const name = "boot"
	g := &guest{files: f, nonce: rand.Text(), saw: map[string]serial.Observation{}}
	program, err := g.machineFor(h)
	var spec host.Guest
	if err == nil {
		spec, err = g.prepare(ctx, h)
	}
	var missing report.Missing
	if errors.As(err, &missing) {
		f.r.Skip(name, "%v", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("preparing the guest: %w", err)
	}
	h.Note("booting it in " + g.machine.Program)
	boot := host.Boot{Program: program, Args: g.machine.Args(spec), Timeout: h.Timeout, Grace: h.Grace}
	if g.result, err = boot.Run(ctx, g.line); err != nil {
		return fmt.Errorf("booting the kernel: %w", err)
	}
	g.check()
	return nil
}

// machineFor chooses the machine, and returns the path of its QEMU. The error is a
// report.Missing.
func (g *guest) machineFor(h host.Host) (program string, err error) {
	switch {
	case h.Skip != "":
		return "", report.Missing(h.Skip)
	case g.vmlinuz == nil || g.vmlinuz.Arch != g.Arch:
		return "", report.Missing("no vmlinuz for " + g.Arch + " to boot")
	}
	g.machine, program, err = h.MachineFor(g.Arch)
	return program, err
}

// prepare makes the files of a guest.
func (g *guest) prepare(ctx context.Context, h host.Host) (host.Guest, error) {
	h.Note("compiling the guest's init for " + g.Arch)
	init, initrd := g.t.Path("init"), g.t.Path("initramfs")
	if err := buildInit(ctx, h, catalog.Arch(g.Arch).GoArch(), init); err != nil {
		return host.Guest{}, err
	}
	if err := writeInitramfs(initrd, init); err != nil {
		return host.Guest{}, err
	}
	g.disk, g.share, g.port = g.t.Path("disk"), g.t.Path("share"), g.t.Path("port")
	if err := os.Mkdir(g.share, 0o755); err != nil {
		return host.Guest{}, err
	}
	if err := os.WriteFile(filepath.Join(g.share, serial.FromHost), []byte(g.nonce), 0o644); err != nil {
		return host.Guest{}, err
	}
	var missing report.Missing
	err := makeDisk(ctx, h, g.disk, g.nonce)
	if errors.As(err, &missing) {
		g.noDisk = missing.Error()
	} else if err != nil {
		return host.Guest{}, err
	}
	if g.diskSum, _, err = digest.Hash(ctx, g.disk); err != nil {
		return host.Guest{}, err
	}
	if host.Usable(host.VhostVsock) == nil {
		// Any address but the first three. Another guest of the machine may have
		// it, which QEMU reports.
		const base, span = 1 << 16, 1 << 20
		g.cid = base + uint32(os.Getpid())%span
	}
	return host.Guest{
		Kernel: g.t.Path(g.path("vmlinuz")), Initrd: initrd, Accelerator: h.Accelerator,
		Disk: g.disk, Share: g.share, ShareTag: serial.ShareTag,
		Port: g.port, PortName: serial.PortName, Vsock: g.cid,
	}, nil
}
