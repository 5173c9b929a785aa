// Package ovmftable reads what the end of an x86 firmware tells a virtual
// machine monitor: the reset vector, and before it a table of blocks by GUID,
// among them where SEV finds its pages and TDX its sections.
package ovmftable

import (
	"encoding/binary"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
)

// The blocks that are known here. The GUIDs are those that QEMU looks for.
var (
	footer      = fv.GUID{0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d}
	ResetBlock  = fv.GUID{0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f, 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e}
	SecretBlock = fv.GUID{0x61, 0xb3, 0x2e, 0x4c, 0x9b, 0x7d, 0xc3, 0x4c, 0x80, 0x81, 0x12, 0x7c, 0x90, 0xd3, 0xd2, 0x94}
	HashesBlock = fv.GUID{0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54}
	SEVBlock    = fv.GUID{0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc}
	TDXBlock    = fv.GUID{0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2}
)

var names = map[fv.GUID]string{
	ResetBlock:  "SEV-ES reset",
	SecretBlock: "SEV secret",
	HashesBlock: "SEV hashes",
	SEVBlock:    "SEV metadata",
	TDXBlock:    "TDX metadata",
}

const (
	// footerAt is where the table ends, from the end of the image: the code at
	// the reset vector follows.
	footerAt = 32
	// blockTail is what ends each block: its length and its GUID.
	blockTail = 2 + len(fv.GUID{})
)

// Table is the table of an image.
type Table struct {
	image  []byte
	blocks map[fv.GUID][]byte
}

// Parse reads the table of an image. An image without one is an error, and so
// are lengths that do not fit, and a block that stands twice.
func Parse(image []byte) (*Table, error) {
	end := len(image) - footerAt
	if end < blockTail || fv.GUID(image[end-len(footer):end]) != footer {
		return nil, fmt.Errorf("no table of blocks ends %d bytes before the end of the image", footerAt)
	}
	length := int(binary.LittleEndian.Uint16(image[end-blockTail:]))
	if length < blockTail || length > end {
		return nil, fmt.Errorf("the table of blocks has %d bytes: that does not fit", length)
	}
	t := &Table{image: image, blocks: map[fv.GUID][]byte{}}
	for rest := image[end-length : end-blockTail]; len(rest) > 0; {
		if len(rest) < blockTail {
			return nil, fmt.Errorf("%d bytes are left at the beginning of the table: too few for a block", len(rest))
		}
		guid := fv.GUID(rest[len(rest)-len(footer):])
		size := int(binary.LittleEndian.Uint16(rest[len(rest)-blockTail:]))
		if size < blockTail || size > len(rest) {
			return nil, fmt.Errorf("the block %s has %d bytes, but the table has %d before its end", guid, size, len(rest))
		}
		if _, twice := t.blocks[guid]; twice {
			return nil, fmt.Errorf("the block %s stands twice in the table", guid)
		}
		t.blocks[guid] = rest[len(rest)-size : len(rest)-blockTail]
		rest = rest[:len(rest)-size]
	}
	return t, nil
}

// Has says whether there is a block of that GUID.
func (t *Table) Has(guid fv.GUID) bool { return t.blocks[guid] != nil }

// Len is how many blocks there are.
func (t *Table) Len() int { return len(t.blocks) }

// Area is a piece of the guest's memory, by address and size in bytes.
type Area struct{ Base, Size uint64 }

// String returns the range in hex, with its end excluded.
func (a Area) String() string { return fmt.Sprintf("%#x-%#x", a.Base, a.Base+a.Size) }

// Area returns the piece of memory that a block names: that of SecretBlock and
// HashesBlock. It has size 0 where the firmware does without.
func (t *Table) Area(guid fv.GUID) (Area, error) {
	block, err := t.block(guid, 8)
	if err != nil {
		return Area{}, err
	}
	return Area{uint64(binary.LittleEndian.Uint32(block)), uint64(binary.LittleEndian.Uint32(block[4:]))}, nil
}

func (t *Table) block(guid fv.GUID, size int) ([]byte, error) {
	name := names[guid]
	block, there := t.blocks[guid]
	switch {
	case !there:
		return nil, fmt.Errorf("the table of blocks has no %s (%s)", name, guid)
	case len(block) != size:
		return nil, fmt.Errorf("the %s block has %d bytes: want %d", name, len(block), size)
	}
	return block, nil
}

// descriptor returns what a block points to, which begins with a signature and
// has entries of a size after 16 bytes.
func (t *Table) descriptor(guid fv.GUID, signature string, entry int) ([]byte, error) {
	const header, version = 16, 1
	name := names[guid]
	block, err := t.block(guid, 4)
	if err != nil {
		return nil, err
	}
	// The distance from the end of the image, which ends at 4 GiB.
	distance := int(binary.LittleEndian.Uint32(block))
	if distance < header || distance > len(t.image) {
		return nil, fmt.Errorf("the %s is %#x bytes before the end of an image of %#x", name, distance, len(t.image))
	}
	data := t.image[len(t.image)-distance:]
	length := int(binary.LittleEndian.Uint32(data[4:]))
	count := int(binary.LittleEndian.Uint32(data[12:]))
	switch {
	case string(data[:4]) != signature:
		return nil, fmt.Errorf("the %s begins with %q: want %q", name, data[:4], signature)
	case binary.LittleEndian.Uint32(data[8:]) != version:
		return nil, fmt.Errorf("the %s has version %d: want %d", name, binary.LittleEndian.Uint32(data[8:]), version)
	case length > len(data) || length < header || count != (length-header)/entry || (length-header)%entry != 0:
		return nil, fmt.Errorf("the %s has %d entries in %d bytes: that does not fit", name, count, length)
	}
	return data[header:length], nil
}

// Has says whether another piece of memory is within this one.
func (a Area) Has(b Area) bool { return a.Base <= b.Base && b.Base+b.Size <= a.Base+a.Size }
