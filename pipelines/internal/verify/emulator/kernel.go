package emulator

import "encoding/binary"

// BzImage returns the smallest file that QEMU takes for a kernel of x86: a boot
// sector and a sector of setup that are empty but for the fields of the protocol
// (Documentation/arch/x86/boot.rst in Linux), and nothing to start.
func BzImage() []byte {
	const (
		sector       = 512
		setupSectors = 0x1f1
		magic        = 0x202
		version      = 0x206
		loadFlags    = 0x211
	)
	image := make([]byte, 8*sector)
	image[setupSectors] = 1
	copy(image[magic:], "HdrS")
	binary.LittleEndian.PutUint16(image[version:], 0x020c)
	image[loadFlags] = 1 // Loaded high.
	return image
}
