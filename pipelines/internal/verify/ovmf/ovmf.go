// Package ovmf verifies UEFI firmware: its volumes and the files in them, what its
// end tells a virtual machine monitor, and that it boots in QEMU. It reads only
// as much of the image as tells the variants apart; the boot shows that the rest is
// intact.
package ovmf

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Firmware is a firmware of the tree.
type Firmware struct {
	arch, version string
	variant
	// files are those of the volumes of all images, once they are read.
	files []file
}

// New returns the firmware of an asset. Its version is the one that guests see: the pin,
// "edk2-stable202502", and the version of Debian's patches, if any.
func New(asset, arch, version string) (Firmware, error) {
	v, ok := variants[asset+" "+arch]
	if !ok {
		return Firmware{}, fmt.Errorf("no checks are known for the firmware %q on %s", asset, arch)
	}
	return Firmware{arch: arch, version: version, variant: v}, nil
}

// Layout has the images.
func (f Firmware) Layout() tarball.Layout {
	layout := tarball.Layout{}
	for _, image := range f.images {
		layout[image.path] = tarball.File{Mode: 0o644, Size: image.size}
	}
	return layout
}

// Checks are those of the images, and the boots.
func (f Firmware) Checks() []string {
	names := []string{
		"members", "files", "version", "reset vector", "table of blocks", "SEV metadata", "SEV kernel hashes", "TDX metadata",
		"boot", "boot of a kernel", "boot of a kernel with its hash", "boot of a kernel with no hash",
		"boot of a kernel with another hash",
	}
	for _, image := range f.images {
		names = append(names, "volumes of "+path.Base(image.path))
	}
	return names
}

// image is an image of the tarball; data is nil where it is missing, and volumes
// are nil where they could not be read, which a check has reported.
type image struct {
	flash
	data    []byte
	volumes []volume
}

// Check inspects and boots the firmware.
func (f Firmware) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	var saw []string
	for _, image := range f.images {
		saw = append(saw, fmt.Sprintf("%s with %d MiB", image.path, image.size>>20))
	}
	f.Layout().Check(r, t, strings.Join(saw, ", "))
	var images []image
	for _, known := range f.images {
		i := image{flash: known, data: t.Read(known.path)}
		if i.data != nil {
			r.Run("volumes of "+path.Base(i.path), i.readVolumes)
		}
		images, f.files = append(images, i), append(f.files, filesOf(i.volumes)...)
	}
	if len(f.files) > 0 {
		r.Run("files", f.checkFiles)
	}
	r.Run("version", f.checkVersion)
	switch first := images[0]; {
	case first.volumes == nil:
	case f.arch == "x86_64":
		r.Run("reset vector", first.jumps)
		f.checkTable(r, first.data)
	default:
		r.Run("reset vector", first.branches)
	}
	return f.boot(ctx, r, images, t, h)
}

// checkTable checks the table at the end of an image for x86_64.
func (f Firmware) checkTable(r *report.Report, image []byte) {
	table, err := parseTable(image)
	if err != nil {
		r.Result("table of blocks", "", err)
		return
	}
	r.Run("SEV metadata", table.checkSEV)
	r.Run("SEV kernel hashes", func() (string, error) { return f.checkHashes(table) })
	r.Run("TDX metadata", table.checkTDX)
}
