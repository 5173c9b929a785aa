package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

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
	found, err := Unpack(h.Kernel, image+"-*", g.Kernel)
	if err == nil && !found {
		err = fmt.Errorf("%s has no %s", h.Kernel, image)
	}
	if err != nil {
		return g, fmt.Errorf("the guest kernel: %w", err)
	}
	return g, nil
}

// Unpack writes the first file of a tarball whose name matches a pattern, without its folder,
// and reports whether there is one.
func Unpack(tarball, pattern, to string) (bool, error) {
	listing, err := archive.Inspect(tarball)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(listing.Members, func(m archive.Sized) bool {
		match, err := path.Match(pattern, path.Base(m.Name))
		return err == nil && match && m.Mode.IsRegular()
	})
	if i < 0 {
		return false, nil
	}
	file, err := os.Create(to)
	if err != nil {
		return false, err
	}
	return true, errors.Join(archive.Cat(file, tarball, listing.Members[i].Name), file.Close())
}
