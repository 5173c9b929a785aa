// Package ovmf verifies UEFI firmware: its volumes and the files in them, what its
// end tells a virtual machine monitor, and that it boots in QEMU. It reads no more
// of the image than tells the variants apart; that the rest is whole is shown by
// the boot.
package ovmf

import (
	"context"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Firmware is a firmware of the tree.
type Firmware struct {
	arch, version string
	variant
}

// New returns the firmware of an asset. Its version is the pin,
// "edk2-stable202502", which guests see.
func New(asset, arch, version string) (Firmware, error) {
	v, ok := known(asset, arch)
	if !ok {
		return Firmware{}, fmt.Errorf("no checks are known for the firmware %q on %s", asset, arch)
	}
	return Firmware{arch: arch, version: version, variant: v}, nil
}

// Layout has the images.
func (f Firmware) Layout() tarball.Layout {
	l := tarball.Layout{Files: map[string]tarball.File{}, What: "this firmware"}
	for _, image := range f.images {
		l.Files[f.path(image)] = tarball.File{Mode: 0o644, Size: image.size}
		l.Limit = max(l.Limit, image.size)
	}
	return l
}

// Checks are those of the images, and the boots.
func (f Firmware) Checks() []string {
	names := []string{
		"members", "files", "version", "reset vector", "table of blocks", "SEV metadata", "SEV kernel hashes", "TDX metadata",
		"boot", "boot of a kernel", "boot of a kernel with its hash", "boot of a kernel with no hash", "boot of a kernel with another hash",
	}
	for _, image := range f.images {
		names = append(names, "volumes of "+image.name)
	}
	return names
}

// path is that of an image in the tarball.
func (v variant) path(image flash) string { return "opt/kata/share/" + v.folder + "/" + image.name }

// Check inspects and boots the firmware.
func (f Firmware) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	var saw []string
	for _, image := range f.images {
		saw = append(saw, fmt.Sprintf("%s with %d MiB", f.path(image), image.size>>20))
	}
	f.Layout().Check(r, t, strings.Join(saw, ", "))
	images, err := f.open(r, t)
	if err != nil {
		return err
	}
	f.checkFiles(r, images)
	f.checkVersion(r, images)
	switch first := images[0]; {
	case first.volumes == nil:
	case f.arch == "x86_64":
		f.checkTable(r, first.data)
	default:
		f.images[0].checkBranch(r, first)
	}
	return f.boot(ctx, r, images, t.Dir, h)
}

// image is an image of the tarball; data is nil where it is missing, and volumes
// are nil where they could not be read, which a check has reported.
type image struct {
	path    string
	data    []byte
	volumes []volume
	// files are those of all volumes.
	files []file
}

// open reads the images, and checks their volumes on the way.
func (v variant) open(r *report.Report, t *tarball.Tarball) ([]image, error) {
	var images []image
	for _, known := range v.images {
		i := image{path: t.Path(v.path(known))}
		var err error
		if i.data, err = t.Read(v.path(known)); err != nil {
			return nil, err
		}
		if i.data != nil {
			i.volumes = known.check(r, i.data)
			i.files = filesOf(i.volumes)
		}
		images = append(images, i)
	}
	return images, nil
}

// check reads the volumes of an image, compares their file systems with the known
// ones, and wants the store of variables to be empty.
func (f flash) check(r *report.Report, data []byte) []volume {
	name := "volumes of " + f.name
	if len(data) < f.head {
		r.Fail(name, "%d bytes: too few for its head of %d", len(data), f.head)
		return nil
	}
	volumes, err := parseVolumes(data[f.head:], 0)
	if err != nil {
		r.Fail(name, "%v", err)
		return nil
	}
	var problems, saw []string
	if len(volumes) != len(f.volumes) {
		problems = append(problems, fmt.Sprintf("%d volumes: want %d", len(volumes), len(f.volumes)))
	}
	for n, v := range volumes {
		what := fmt.Sprintf("%#x-%#x", f.head+v.offset, f.head+v.offset+len(v.data))
		switch {
		case n < len(f.volumes) && v.fileSystem != f.volumes[n]:
			problems = append(problems, fmt.Sprintf("volume %d at %s has the file system %s: want %s", n+1, what, v.fileSystem, f.volumes[n]))
		case v.fileSystem == variables:
			size, err := v.emptyStore()
			if err != nil {
				problems = append(problems, err.Error())
			}
			saw = append(saw, fmt.Sprintf("%s: no variables in a store of %d KiB", what, size>>10))
		default:
			saw = append(saw, fmt.Sprintf("%s: %d files", what, len(v.files)))
		}
	}
	r.Judge(name, problems, "%s", strings.Join(saw, "\n"))
	return volumes
}
