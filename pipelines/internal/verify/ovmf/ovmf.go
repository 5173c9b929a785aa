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

// variant describes a firmware by what tells it from the others.
type variant struct {
	images []flash
	// has are files that it must have, lacks those that belong to another.
	has, lacks []content
	// hashes says that it compares kernel, initrd and command line with hashes
	// that are part of the measurement of an SEV guest.
	hashes bool
}

// flash is one image, which fills a piece of flash.
type flash struct {
	// path is that in the tarball.
	path string
	size int64
	// head is what comes before its first volume, in bytes: an instruction that
	// leads there.
	head int
	// fileSystems are those of its volumes, in order.
	fileSystems []string
}

// content is a file of the firmware, by name.
type content struct{ what, name string }

const (
	folder = "opt/kata/share/"

	// x86Size is the size that OVMF has by default, flashSize that of a bank of
	// flash in QEMU's machine for aarch64.
	x86Size   = 4 << 20
	flashSize = 64 << 20
	// armHead is kept free because a volume at address 0 would look like none.
	armHead = 4096

	// What the shell and the boot manager say when there is nothing to start.
	shellText   = "UEFI Interactive Shell v"
	managerText = "BdsDxe: No bootable option"
)

// x86 are the file systems of firmware for x86_64: variables, the compressed rest,
// and what runs first.
var x86 = []string{variables, fileSystem2, fileSystem2}

// Files that firmware is made of.
var (
	compressed  = content{"compressed volumes", "9e21fd93-9c72-4c15-8c4b-e77f1db2d792"}
	resetCode   = content{"reset vector", "1ba0062e-c779-4582-8566-336ae8f78f09"}
	sec         = content{"first code (SEC)", "df1ccef6-f301-4a63-9661-fc6030dcc880"}
	secTDX      = content{"first code of TDX", "69d96630-eb64-4b33-8491-13a5cf023dcf"}
	secARM      = content{"first code (SEC)", "4c97830a-8e18-4aa6-9fd0-837b089910e2"}
	pei         = content{"PEI core", "52c05b14-0b98-496c-bc3b-04b50211d680"}
	dxe         = content{"DXE core", "d6a2cb7f-6a18-4e2f-b43b-9920a733700a"}
	bootManager = content{"boot manager", "6d33944a-ec75-4855-a54d-809c75241f6c"}
	directBoot  = content{"loader of QEMU's -kernel", "806040ca-dad9-4978-a3b4-2d2ab0c8a48f"}
	shell       = content{"shell", "7c04a583-9e3e-4f1c-ad65-e05268d0b4d1"}
	driverSEV   = content{"SEV driver", "2ec9da37-ee35-4de9-86c5-6d9a81dc38a7"}
	driverTDX   = content{"TDX driver", "e750224e-7bce-40af-b5bb-47e3611eb5c2"}
	secretSEV   = content{"SEV launch secret", "6e2b9619-8810-4e9d-a177-d432bb9abeda"}
)

// variants are the firmware of the tree, by asset and architecture. The one for plain
// guests finds out where it runs, and has the drivers of both kinds of confidential
// guests; each of the others has only its own.
var variants = map[string]variant{
	"ovmf x86_64": {
		images: []flash{{folder + "ovmf/OVMF.fd", x86Size, 0, x86}},
		has:    []content{compressed, dxe, bootManager, directBoot, resetCode, sec, pei, shell, driverSEV, driverTDX},
		lacks:  []content{secTDX, secretSEV},
	},
	"ovmf-sev x86_64": {
		images: []flash{{folder + "ovmf/AMDSEV.fd", x86Size, 0, x86}},
		has:    []content{compressed, dxe, bootManager, directBoot, resetCode, sec, pei, driverSEV, secretSEV},
		lacks:  []content{secTDX, driverTDX, shell},
		hashes: true,
	},
	"ovmf-tdx x86_64": {
		images: []flash{{folder + "ovmf/OVMF.inteltdx.fd", x86Size, 0, x86}},
		has:    []content{compressed, dxe, bootManager, directBoot, resetCode, secTDX, driverTDX},
		lacks:  []content{sec, pei, driverSEV, secretSEV},
	},
	"ovmf aarch64": {
		images: []flash{
			{folder + "aavmf/AAVMF_CODE.fd", flashSize, armHead, []string{fileSystem2}},
			{folder + "aavmf/AAVMF_VARS.fd", flashSize, 0, []string{variables}},
		},
		has:   []content{compressed, dxe, bootManager, directBoot, secARM, pei, shell},
		lacks: []content{driverSEV, driverTDX},
	},
}
