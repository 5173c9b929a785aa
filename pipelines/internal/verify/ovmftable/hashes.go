package ovmftable

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
)

// The GUIDs of the table of hashes, in the order of its entries.
var (
	hashesGUID = fv.GUID{0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21}
	entryGUIDs = [3]fv.GUID{
		{0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a},
		{0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d},
		{0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b},
	}
)

// Hashes makes the table that a monitor puts where HashesBlock says, as it must
// be for a command line, an initrd and a kernel to be started.
func Hashes(commandLine string, initrd, kernel []byte) []byte {
	const header = 2
	entry := header + len(hashesGUID) + sha256.Size
	table := append([]byte{}, hashesGUID[:]...)
	table = binary.LittleEndian.AppendUint16(table, uint16(len(hashesGUID)+header+len(entryGUIDs)*entry))
	for n, data := range [][]byte{append([]byte(commandLine), 0), initrd, kernel} {
		sum := sha256.Sum256(data)
		table = append(table, entryGUIDs[n][:]...)
		table = binary.LittleEndian.AppendUint16(table, uint16(entry))
		table = append(table, sum[:]...)
	}
	return table
}
