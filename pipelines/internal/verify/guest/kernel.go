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
	g := host.Guest{Kernel: filepath.Join(dir, image), Initrd: filepath.Join(dir, "initramfs"), Accelerator: h.Accelerator}
	if h.Kernel == "" {
		return g, report.Missing("there is no guest kernel for " + arch + " in the caches: run `build-asset kernel`, or name a tarball with --kernel")
	}
	listing, err := archive.Inspect(h.Kernel)
	if err != nil {
		return g, fmt.Errorf("the guest kernel: %w", err)
	}
	for _, m := range listing.Members {
		if m.Mode.IsRegular() && strings.HasPrefix(path.Base(m.Name), image+"-") {
			return g, write(ctx, h, arch, m.Name, g)
		}
	}
	return g, fmt.Errorf("the guest kernel: %s has no %s", h.Kernel, image)
}

func write(ctx context.Context, h host.Host, arch, member string, g host.Guest) error {
	file, err := os.Create(g.Kernel)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := archive.Cat(file, h.Kernel, member); err != nil {
		return fmt.Errorf("the guest kernel: %w", err)
	}
	if err := file.Close(); err != nil {
		return err
	}
	return Init(ctx, h, arch, g.Initrd)
}
