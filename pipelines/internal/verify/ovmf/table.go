package ovmf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// The blocks in the table at the end of x86 firmware, by the GUIDs that QEMU looks
// for, and what they are called.
const (
	footer      = "96b582de-1fb2-45f7-baea-a366c55a082d"
	resetBlock  = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
	secretBlock = "4c2eb361-7d9b-4cc3-8081-127c90d3d294"
	hashesBlock = "7255371f-3a3b-4b04-927b-1da6efa8d454"
	sevBlock    = "dc886566-984a-4798-a75e-5585a7bf67cc"
	tdxBlock    = "e47a6535-984a-4798-865e-4685a7bf8ec2"
)

var blockNames = map[string]string{
	resetBlock: "SEV-ES reset", secretBlock: "SEV secret", hashesBlock: "SEV hashes",
	sevBlock: "SEV metadata", tdxBlock: "TDX metadata",
}

// table is what the end of an x86 image tells a virtual machine monitor: blocks by
// GUID, which end before the code at the reset vector.
type table struct {
	image  []byte
	blocks map[string][]byte
}

func parseTable(image []byte) (*table, error) {
	const resetCode, tail = 32, 2 + 16 // A block ends with its length and its GUID.
	end := len(image) - resetCode
	if end < tail || guid(image[end-16:]) != footer {
		return nil, fmt.Errorf("no table of blocks ends %d bytes before the end of the image", resetCode)
	}
	length := int(binary.LittleEndian.Uint16(image[end-tail:]))
	if length < tail || length > end {
		return nil, fmt.Errorf("the table of blocks has %d bytes: that does not fit", length)
	}
	t := &table{image: image, blocks: map[string][]byte{}}
	for rest := image[end-length : end-tail]; len(rest) > 0; {
		if len(rest) < tail {
			return nil, fmt.Errorf("%d bytes are left at the beginning of the table: too few for a block", len(rest))
		}
		id := guid(rest[len(rest)-16:])
		size := int(binary.LittleEndian.Uint16(rest[len(rest)-tail:]))
		if size < tail || size > len(rest) {
			return nil, fmt.Errorf("the block %s has %d bytes, but the table has %d before its end", id, size, len(rest))
		}
		if _, twice := t.blocks[id]; twice {
			return nil, fmt.Errorf("duplicate block %s in the table", id)
		}
		t.blocks[id] = rest[len(rest)-size : len(rest)-tail]
		rest = rest[:len(rest)-size]
	}
	return t, nil
}

// area is a piece of the guest's memory, by address and size in bytes.
type area struct{ base, size uint64 }

// String returns the range in hex; its end is not part of it.
func (a area) String() string { return fmt.Sprintf("%#x-%#x", a.base, a.base+a.size) }

// has reports whether another piece of memory is within this one.
func (a area) has(b area) bool { return a.base <= b.base && b.base+b.size <= a.base+a.size }

// area returns the memory that secretBlock or hashesBlock names; it is empty if
// the firmware does not use it.
func (t *table) area(id string) (area, error) {
	block, err := t.block(id, 8)
	if err != nil {
		return area{}, err
	}
	return areaOf(block), nil
}

// areaOf reads an address and a size of 32 bits.
func areaOf(data []byte) area {
	return area{uint64(binary.LittleEndian.Uint32(data)), uint64(binary.LittleEndian.Uint32(data[4:]))}
}

func (t *table) block(id string, size int) ([]byte, error) {
	block, found := t.blocks[id]
	switch {
	case !found:
		return nil, fmt.Errorf("the table of blocks has no %s (%s)", blockNames[id], id)
	case len(block) != size:
		return nil, fmt.Errorf("the %s block has %d bytes: want %d", blockNames[id], len(block), size)
	}
	return block, nil
}

// descriptor returns the entries that a block points to, which follow a header of
// 16 bytes.
func (t *table) descriptor(id, signature string, entry int) ([]byte, error) {
	const header, version = 16, 1
	name, le := blockNames[id], binary.LittleEndian
	block, err := t.block(id, 4)
	if err != nil {
		return nil, err
	}
	// The distance from the end of the image, which ends at 4 GiB.
	distance := int(le.Uint32(block))
	if distance < header || distance > len(t.image) {
		return nil, fmt.Errorf("the %s is %#x bytes before the end of an image of %#x", name, distance, len(t.image))
	}
	data := t.image[len(t.image)-distance:]
	length, count := int(le.Uint32(data[4:])), int(le.Uint32(data[12:]))
	switch {
	case string(data[:4]) != signature:
		return nil, fmt.Errorf("the %s begins with %q: want %q", name, data[:4], signature)
	case le.Uint32(data[8:]) != version:
		return nil, fmt.Errorf("the %s has version %d: want %d", name, le.Uint32(data[8:]), version)
	case length > len(data) || length != header+count*entry:
		return nil, fmt.Errorf("the %s has %d entries in %d bytes: that does not fit", name, count, length)
	}
	return data[header:length], nil
}

// section is a piece of memory that the monitor prepares before a guest starts.
type section struct {
	area
	kind string
	// offset and length are its content in the image, and measured says that the
	// content is part of the measurement. TDX only.
	offset, length int
	measured       bool
}

// String returns the range and the kind.
func (s section) String() string {
	if s.measured {
		return s.area.String() + " " + s.kind + ", measured"
	}
	return s.area.String() + " " + s.kind
}

// The kinds of sections by number; SEV-SNP and TDX have their own.
var (
	sevKinds = map[uint32]string{1: "memory", 2: "secrets", 3: "cpuid", 4: "svsm", 0x10: "kernel hashes"}
	tdxKinds = map[uint32]string{0: "firmware", 1: "variables", 2: "hand-off", 3: "memory"}
)

func kindOf(kinds map[uint32]string, number uint32) string {
	return cmp.Or(kinds[number], fmt.Sprintf("type %#x", number))
}

// sev returns the sections of the SEV metadata.
func (t *table) sev() (sections []section, err error) {
	const entry = 12
	data, err := t.descriptor(sevBlock, "ASEV", entry)
	for e := range slices.Chunk(data, entry) {
		sections = append(sections, section{area: areaOf(e), kind: kindOf(sevKinds, binary.LittleEndian.Uint32(e[8:]))})
	}
	return sections, cmp.Or(err, apart(sevBlock, sections))
}

// tdx returns the sections of the TDX metadata, whose content must be in the image.
func (t *table) tdx() (sections []section, err error) {
	const entry, measured = 32, 1
	data, err := t.descriptor(tdxBlock, "TDVF", entry)
	for e := range slices.Chunk(data, entry) {
		le := binary.LittleEndian
		offset, length := uint64(le.Uint32(e)), uint64(le.Uint32(e[4:]))
		s := section{
			offset: int(offset), length: int(length), area: area{le.Uint64(e[8:]), le.Uint64(e[16:])},
			kind: kindOf(tdxKinds, le.Uint32(e[24:])), measured: le.Uint32(e[28:])&measured != 0,
		}
		if offset+length > uint64(len(t.image)) || length > s.size {
			return nil, fmt.Errorf("the TDX section %d has its content at %#x-%#x, for %#x bytes of memory: the image has %#x",
				len(sections)+1, offset, offset+length, s.size, len(t.image))
		}
		sections = append(sections, s)
	}
	return sections, cmp.Or(err, apart(tdxBlock, sections))
}

// apart returns an error if two sections overlap, or one is beyond 4 GiB, where the
// firmware itself ends.
func apart(id string, sections []section) error {
	const top = 4 << 30
	sorted := slices.SortedFunc(slices.Values(sections), func(a, b section) int { return cmp.Compare(a.base, b.base) })
	for i, s := range sorted {
		if s.base > top || s.size > top-s.base {
			return fmt.Errorf("the %s: %s is not within 4 GiB", blockNames[id], s.area)
		}
		if i > 0 && sorted[i-1].base+sorted[i-1].size > s.base {
			return fmt.Errorf("the %s: %s and %s overlap", blockNames[id], sorted[i-1].area, s.area)
		}
	}
	return nil
}
