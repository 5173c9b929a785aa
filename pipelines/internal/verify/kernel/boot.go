package kernel

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	digest "github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

func (f *files) boot(ctx context.Context, h host.Host) error {
	g := &session{files: f, nonce: rand.Text(), Console: guest.NewConsole()}
	var program string
	var err error
	g.machine, program, err = h.MachineFor(f.Arch)
	if err == nil && (f.vmlinuz == nil || f.vmlinuz.Arch != f.Arch) {
		err = report.Missing("no vmlinuz for " + f.Arch + " to boot")
	}
	if err == nil {
		err = g.prepare(ctx, h)
	}
	if missing, skipped := report.AsMissing(err); skipped {
		f.r.Result("boot", "", missing)
		return nil
	}
	if err != nil {
		return fmt.Errorf("preparing the guest: %w", err)
	}
	h.Note("booting it in " + g.machine.Program)
	if g.result, err = h.Boot(ctx, program, g.machine.Args(g.spec), g.Line); err != nil {
		return fmt.Errorf("booting the kernel: %w", err)
	}
	g.check()
	return nil
}

func (g *session) prepare(ctx context.Context, h host.Host) (err error) {
	g.spec = host.Guest{
		Kernel: g.t.Path(g.path("vmlinuz")), Initrd: g.t.Path("initramfs"), Accelerator: h.Accelerator,
		Disk: g.t.Path("disk"), Share: g.t.Path("share"), ShareTag: serial.ShareTag,
		Port: g.t.Path("port"), PortName: serial.PortName,
	}
	if err := guest.Init(ctx, h, g.Arch, g.spec.Initrd); err != nil {
		return err
	}
	if err := os.Mkdir(g.spec.Share, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(g.spec.Share, serial.FromHost), []byte(g.nonce), 0o644); err != nil {
		return err
	}
	err = g.makeDisk(ctx, h, g.spec.Disk)
	if err == nil && g.machine.Pmem {
		g.spec.Pmem = g.t.Path("pmem")
		err = g.makeDisk(ctx, h, g.spec.Pmem)
	}
	var skipped bool
	if g.noDisk, skipped = report.AsMissing(err); err != nil && !skipped {
		return err
	}
	if host.Usable(host.VhostVsock) == nil {
		g.spec.Vsock = host.VsockAddress()
	}
	g.diskSum, _, err = digest.Hash(ctx, g.spec.Disk)
	return err
}

// makeDisk writes an image with an ext4 file system that has one file. Without mke2fs
// the error is a report.Missing, and the disk is empty.
func (g *session) makeDisk(ctx context.Context, h host.Host, image string) error {
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, host.DiskSize); err != nil {
		return err
	}
	program, err := h.Find("mke2fs", "e2fsprogs")
	if err != nil {
		return err
	}
	// DAX needs blocks of the size of a page.
	cmd := command.New(ctx, program, "-q", "-F", "-t", "ext4", "-b", "4096", "-d", g.spec.Share, image)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making the guest's disk: %w\n%s", err, bytes.TrimSpace(output))
	}
	return nil
}

// session is one boot and its result.
type session struct {
	*files
	*guest.Console
	machine host.Machine
	spec    host.Guest
	// nonce is the content of files on the disk and in the shared folder.
	nonce string
	// noDisk is why the disk is empty, and diskSum the hash of its content.
	noDisk  report.Missing
	diskSum string

	result host.Result
}

func (g *session) booted() report.Check {
	c := g.Booted(g.machine, g.result)
	if len(g.result.Tail) == 0 && c.Verdict == report.Failed && g.options[g.machine.ConsoleOption] != "y" {
		c.Saw += fmt.Sprintf(", which needs the option %s of the kernel", g.machine.ConsoleOption)
	}
	return c
}
