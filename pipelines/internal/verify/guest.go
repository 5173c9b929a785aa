package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cpio"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/serial"
)

// initPackage is the guest's init, below the root of the repository.
const initPackage = "pipelines/internal/verify/guestinit"

// errNoTool is why something cannot be done, which is no fault of the kernel.
type errNoTool struct{ why string }

// Error returns why.
func (e *errNoTool) Error() string { return e.why }

// buildInit compiles the guest's init for an architecture, named as Go names
// it. Go's own cache makes the second time cheap.
func (b Boot) buildInit(ctx context.Context, goarch, out string) error {
	if _, err := os.Stat(filepath.Join(b.Root, initPackage)); errors.Is(err, fs.ErrNotExist) {
		return &errNoTool{fmt.Sprintf("the guest's init cannot be compiled: no %s below %s", initPackage, b.Root)}
	}
	program, err := b.LookPath("go")
	if err != nil {
		return &errNoTool{"the guest's init cannot be compiled: no go in PATH"}
	}
	cmd := exec.CommandContext(ctx, program, "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./"+initPackage)
	cmd.Dir = b.Root
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compiling the guest's init: %w\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// writeInitramfs writes the guest's root: the init, a console for it, and
// folders to mount on.
func writeInitramfs(path, init string) (err error) {
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	archive := cpio.NewWriter(file)
	const consoleMajor, consoleMinor = 5, 1
	return errors.Join(
		archive.Dir("dev"), archive.Dir("proc"), archive.Dir("run"), archive.Dir("sys"),
		archive.Char("dev/console", consoleMajor, consoleMinor),
		archive.File("init", 0o755, program),
		archive.Close(),
	)
}

// diskSize is that of the guest's disk in bytes.
const diskSize = 32 << 20

// makeDisk writes a disk with an ext4 file system that has one file on it, by
// mke2fs: its absence is an errNoTool, and leaves an empty disk.
func (b Boot) makeDisk(ctx context.Context, dir, path, content string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(diskSize), file.Close()); err != nil {
		return err
	}
	program, err := b.LookPath("mke2fs")
	if err != nil {
		return &errNoTool{"no mke2fs to make a file system with: apt-get install e2fsprogs"}
	}
	root := filepath.Join(dir, "disk-root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, serial.FromHost), []byte(content), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "-q", "-F", "-t", "ext4", "-d", root, path)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making the guest's disk: %w\n%s", err, bytes.TrimSpace(output))
	}
	return nil
}
