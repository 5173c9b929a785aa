package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// initPackage is the guest's init, below the root of the repository.
const initPackage = "pipelines/internal/verify/kernel/guestinit"

// buildInit compiles the guest's init for an architecture, named as Go names it.
func buildInit(ctx context.Context, h host.Host, goarch, out string) error {
	if _, err := os.Stat(filepath.Join(h.Root, initPackage)); errors.Is(err, fs.ErrNotExist) {
		return report.Missing(fmt.Sprintf("the guest's init cannot be compiled: no %s below %s", initPackage, h.Root))
	}
	environ := []string{"GOOS=linux", "GOARCH=" + goarch}
	if err := h.GoBuild(ctx, h.Root, environ, "-ldflags=-s -w", "-o", out, "./"+initPackage); err != nil {
		return fmt.Errorf("compiling the guest's init: %w", err)
	}
	return nil
}

// diskSize is that of the guest's disk in bytes.
const diskSize = 32 << 20

// makeDisk writes a disk with an ext4 file system that has one file. Without mke2fs
// the error is a report.Missing, and the disk is empty.
func makeDisk(ctx context.Context, h host.Host, path, content string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(diskSize), file.Close()); err != nil {
		return err
	}
	program, err := h.Find("mke2fs", "e2fsprogs")
	if err != nil {
		return err
	}
	root := path + "-root"
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, serial.FromHost), []byte(content), 0o644); err != nil {
		return err
	}
	cmd := command.New(ctx, program, "-q", "-F", "-t", "ext4", "-d", root, path)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making the guest's disk: %w\n%s", err, bytes.TrimSpace(output))
	}
	return nil
}

// Types of members, as in the modes of stat(2).
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeChar = 0o020000
)

// member is a member of an initramfs.
type member struct {
	name         string
	mode         uint32
	major, minor uint32
	content      []byte
}

// cpio returns an archive of the format "newc" that Linux takes as an initramfs:
// Documentation/driver-api/early-userspace/buffer-format.rst. Each member is a
// header of 13 numbers, its name and its content, padded to four bytes.
func cpio(members ...member) []byte {
	var out bytes.Buffer
	pad := func() { out.Write(make([]byte, -out.Len()&3)) }
	for i, m := range append(members, member{name: "TRAILER!!!"}) {
		out.WriteString("070701")
		for _, field := range []uint32{
			uint32(i + 1), m.mode, 0, 0, 1, 0, uint32(len(m.content)), 0, 0, m.major, m.minor, uint32(len(m.name) + 1), 0,
		} {
			fmt.Fprintf(&out, "%08X", field)
		}
		out.WriteString(m.name + "\x00")
		pad()
		out.Write(m.content)
		pad()
	}
	return out.Bytes()
}

// writeInitramfs writes the guest's root: the init, a console for it, and folders
// to mount on.
func writeInitramfs(path, init string) error {
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	const folder = typeDir | 0o755
	return os.WriteFile(path, cpio(
		member{name: "dev", mode: folder}, member{name: "proc", mode: folder}, member{name: "run", mode: folder}, member{name: "sys", mode: folder},
		member{name: "dev/console", mode: typeChar | 0o600, major: 5, minor: 1},
		member{name: "init", mode: typeFile | 0o755, content: program},
	), 0o644)
}
