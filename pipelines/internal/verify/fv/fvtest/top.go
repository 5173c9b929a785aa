package fvtest

import (
	"encoding/binary"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
)

// Block is one of the table at the end of firmware for x86_64.
type Block struct {
	GUID fv.GUID
	Data []byte
}

// Top makes the end of firmware for x86_64: some code, what blocks point to, the
// table of blocks, and the reset vector. A block whose data is nil points to the
// bytes of target that have its GUID.
func Top(blocks []Block, target map[fv.GUID][]byte) []byte {
	// The footer of the table, from its GUID.
	footer := fv.GUID{0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d}
	const behindTable = 32
	size := 2 + len(footer)
	for _, b := range blocks {
		size += len(b.data()) + 2 + len(footer)
	}
	code := slices.Repeat([]byte{0x90}, 256)
	distance := behindTable + size
	for _, b := range blocks {
		if pointed := target[b.GUID]; b.Data == nil {
			code = append(code, pointed...)
			distance += len(pointed)
		}
	}
	// A file of a volume begins at a multiple of 8.
	table := append(slices.Repeat([]byte{0x90}, (8-(len(code)+size)%8)%8), code...)
	for _, b := range blocks {
		data := b.data()
		if b.Data == nil {
			binary.LittleEndian.PutUint32(data, uint32(distance))
			distance -= len(target[b.GUID])
		}
		table = append(table, data...)
		table = binary.LittleEndian.AppendUint16(table, uint16(len(data)+2+len(footer)))
		table = append(table, b.GUID[:]...)
	}
	table = binary.LittleEndian.AppendUint16(table, uint16(size))
	table = append(table, footer[:]...)
	table = append(table, make([]byte, 12)...)
	table = append(table, "VTF\x00"...)
	return append(table, reset(len(table))...)
}

func (b Block) data() []byte {
	if b.Data == nil {
		return make([]byte, 4)
	}
	return slices.Clone(b.Data)
}

// reset is the code of the reset vector; its jumps go back to the beginning of
// what is before it.
func reset(back int) []byte {
	const after32, after16 = 12, 15
	code := []byte{0x0f, 0x20, 0xc0, 0xa8, 0x01, 0x74, 0x05, 0xe9}
	code = binary.LittleEndian.AppendUint32(code, uint32(-(back + after32)))
	code = append(code, 0xe9)
	code = binary.LittleEndian.AppendUint16(code, uint16(-(back + after16)))
	return append(code, 0)
}

// Descriptor makes what a block of metadata points to, out of its entries, which
// are numbers of 32 bits.
func Descriptor(signature string, entries ...[]uint32) []byte {
	d := make([]byte, 16)
	copy(d, signature)
	for _, e := range entries {
		for _, n := range e {
			d = binary.LittleEndian.AppendUint32(d, n)
		}
	}
	binary.LittleEndian.PutUint32(d[4:], uint32(len(d)))
	binary.LittleEndian.PutUint32(d[8:], 1)
	binary.LittleEndian.PutUint32(d[12:], uint32(len(entries)))
	return d
}
