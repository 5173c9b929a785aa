package ovmf

// variant describes a firmware by what tells it from the others.
type variant struct {
	images []flash
	// has are files that it must have, lacks those that belong to another.
	has, lacks []content
	// hashes says that it compares kernel, initrd and command line with hashes
	// that are part of the measurement of an SEV guest.
	hashes bool
	// end is the text on the serial line that ends a boot without a kernel.
	end string
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
		end:    shellText,
	},
	"ovmf-sev x86_64": {
		images: []flash{{folder + "ovmf/AMDSEV.fd", x86Size, 0, x86}},
		has:    []content{compressed, dxe, bootManager, directBoot, resetCode, sec, pei, driverSEV, secretSEV},
		lacks:  []content{secTDX, driverTDX, shell},
		hashes: true,
		end:    managerText,
	},
	"ovmf-tdx x86_64": {
		images: []flash{{folder + "ovmf/OVMF.inteltdx.fd", x86Size, 0, x86}},
		has:    []content{compressed, dxe, bootManager, directBoot, resetCode, secTDX, driverTDX},
		lacks:  []content{sec, pei, driverSEV, secretSEV},
		end:    managerText,
	},
	"ovmf aarch64": {
		images: []flash{
			{folder + "aavmf/AAVMF_CODE.fd", flashSize, armHead, []string{fileSystem2}},
			{folder + "aavmf/AAVMF_VARS.fd", flashSize, 0, []string{variables}},
		},
		has:   []content{compressed, dxe, bootManager, directBoot, secARM, pei, shell},
		lacks: []content{driverSEV, driverTDX},
		end:   shellText,
	},
}
