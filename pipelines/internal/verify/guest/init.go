// Package guest boots a kernel with the init of this program, the command guestinit, and
// takes what that reports over the serial line. What the guest must report is the
// concern of the families: kernels, and programs that serve guests or run them.
package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Package is the guest's init, below the root of the repository.
const Package = "pipelines/internal/verify/kernel/guestinit"

// Init compiles the guest's init for an architecture, as `uname -m` prints it, and packs
// it as an initramfs.
func Init(ctx context.Context, h host.Host, arch, initrd string) error {
	if _, err := os.Stat(filepath.Join(h.Root, Package)); errors.Is(err, fs.ErrNotExist) {
		return report.Missing(fmt.Sprintf("the guest's init cannot be compiled: no %s below %s", Package, h.Root))
	}
	h.Note("compiling the guest's init for " + arch)
	environ := []string{"GOOS=linux", "GOARCH=" + catalog.Arch(arch).GoArch()}
	out := initrd + ".program"
	if err := h.GoBuild(ctx, h.Root, environ, "-ldflags=-s -w", "-o", out, "./"+Package); err != nil {
		return fmt.Errorf("compiling the guest's init: %w", err)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	return os.WriteFile(initrd, Initramfs(program), 0o644)
}

// Initramfs returns an archive of the format "newc" that Linux takes as an initramfs,
// with only the file init: Documentation/driver-api/early-userspace/buffer-format.rst.
// The initramfs within the kernel has /dev/console. Each member is a header of 13 numbers, its
// name and its content, padded to four bytes.
func Initramfs(init []byte) []byte {
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
