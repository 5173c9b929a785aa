package guest

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Files writes an image of the guest kernel of the host below dir, "vmlinuz" or
// "vmlinux", and the initramfs that goes with it.
func Files(ctx context.Context, h host.Host, arch, image, dir string) (host.Guest, error) {
	g, err := Kernel(h, arch, image, dir)
	if err != nil {
		return g, err
	}
	g.Initrd = filepath.Join(dir, "initramfs")
	return g, Init(ctx, h, arch, g.Initrd)
}

// Kernel writes only the image of the kernel.
func Kernel(h host.Host, arch, image, dir string) (host.Guest, error) {
	g := host.Guest{Kernel: filepath.Join(dir, image), Accelerator: h.Accelerator}
	if h.Kernel == "" {
		return g, report.Missing("there is no guest kernel for " + arch + " in the caches: run `build-asset kernel`, or name a tarball with --kernel")
	}
	listing, err := archive.Inspect(h.Kernel)
	if err != nil {
		return g, fmt.Errorf("the guest kernel: %w", err)
	}
	for _, m := range listing.Members {
		if m.Mode.IsRegular() && strings.HasPrefix(path.Base(m.Name), image+"-") {
			return g, write(h.Kernel, m.Name, g.Kernel)
		}
	}
	return g, fmt.Errorf("the guest kernel: %s has no %s", h.Kernel, image)
}

func write(tarball, member, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := archive.Cat(file, tarball, member); err != nil {
		return fmt.Errorf("the guest kernel: %w", err)
	}
	return file.Close()
}
