package kernel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	digest "github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// boot boots the kernel and checks what its init reports.
func (f *files) boot(ctx context.Context, h host.Host) error {
	g := &guest{files: f, nonce: rand.Text(), saw: map[string]serial.Observation{}}
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
	if g.result, err = h.Boot(ctx, program, g.machine.Args(g.spec), g.line); err != nil {
		return fmt.Errorf("booting the kernel: %w", err)
	}
	g.check()
	return nil
}

// prepare makes the files of the guest.
func (g *guest) prepare(ctx context.Context, h host.Host) (err error) {
	g.spec = host.Guest{
		Kernel: g.t.Path(g.path("vmlinuz")), Initrd: g.t.Path("initramfs"), Accelerator: h.Accelerator,
		Disk: g.t.Path("disk"), Share: g.t.Path("share"), ShareTag: serial.ShareTag,
		Port: g.t.Path("port"), PortName: serial.PortName,
	}
	h.Note("compiling the guest's init for " + g.Arch)
	if err := g.buildInit(ctx, h); err != nil {
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
		// The first three addresses are reserved. QEMU reports an address that another
		// guest of the machine has.
		const base, span = 1 << 16, 1 << 20
		g.spec.Vsock = base + uint32(os.Getpid())%span
	}
	g.diskSum, _, err = digest.Hash(ctx, g.spec.Disk)
	return err
}

// initPackage is the guest's init, below the root of the repository.
const initPackage = "pipelines/internal/verify/kernel/guestinit"

// buildInit compiles the guest's init and packs it as the initramfs.
func (g *guest) buildInit(ctx context.Context, h host.Host) error {
	if _, err := os.Stat(filepath.Join(h.Root, initPackage)); errors.Is(err, fs.ErrNotExist) {
		return report.Missing(fmt.Sprintf("the guest's init cannot be compiled: no %s below %s", initPackage, h.Root))
	}
	environ := []string{"GOOS=linux", "GOARCH=" + catalog.Arch(g.Arch).GoArch()}
	out := g.t.Path("init")
	if err := h.GoBuild(ctx, h.Root, environ, "-ldflags=-s -w", "-o", out, "./"+initPackage); err != nil {
		return fmt.Errorf("compiling the guest's init: %w", err)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	return os.WriteFile(g.spec.Initrd, initramfs(program), 0o644)
}

// initramfs returns an archive of the format "newc" that Linux takes as an initramfs,
// with only the file init: Documentation/driver-api/early-userspace/buffer-format.rst.
// The initramfs within the kernel has /dev/console. Each member is a header of 13 numbers, its
// name and its content, padded to four bytes.
func initramfs(init []byte) []byte {
	const executable = 0o100755
	var out bytes.Buffer
	pad := func() { out.Write(make([]byte, -out.Len()&3)) }
	for inode, m := range []struct {
		name    string
		mode    int
		content []byte
	}{{"init", executable, init}, {"TRAILER!!!", 0, nil}} {
		out.WriteString("070701")
		for _, field := range []int{inode + 1, m.mode, 0, 0, 1, 0, len(m.content), 0, 0, 0, 0, len(m.name) + 1, 0} {
			fmt.Fprintf(&out, "%08X", field)
		}
		out.WriteString(m.name + "\x00")
		pad()
		out.Write(m.content)
		pad()
	}
	return out.Bytes()
}

// makeDisk writes an image with an ext4 file system that has one file. Without mke2fs
// the error is a report.Missing, and the disk is empty.
func (g *guest) makeDisk(ctx context.Context, h host.Host, image string) error {
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
