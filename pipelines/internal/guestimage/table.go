package guestimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The master boot record: four entries of 16 bytes, of which the first ones are used, and
// two bytes that mark it.
const (
	entriesStart = 446
	entrySize    = 16
	entries      = 4
	linux        = 0x83
)

var bootMark = []byte{0x55, 0xaa}

// unaddressable marks a place beyond what cylinders, heads and sectors can address.
var unaddressable = [3]byte{0xfe, 0xff, 0xff}

// entry is one of a partition table, in bytes of sectors.
type entry struct {
	Status      byte
	First       [3]byte
	Type        byte
	Last        [3]byte
	Start, Size uint32
}

// table returns the MBR of a disk with partitions.
func table(parts []Extent) []byte {
	var list bytes.Buffer
	for _, part := range parts {
		e := entry{0, unaddressable, linux, unaddressable, uint32(part.Start / sectorSize), uint32(part.Size / sectorSize)}
		_ = binary.Write(&list, binary.LittleEndian, e) // Writing to memory does not fail.
	}
	data := make([]byte, sectorSize)
	copy(data[entriesStart:], list.Bytes())
	copy(data[sectorSize-len(bootMark):], bootMark)
	return data
}

// readTable reads the partitions of the disk that begins at a byte of an image.
func readTable(from io.ReaderAt, disk int64) ([]Extent, error) {
	data := make([]byte, sectorSize)
	if _, err := from.ReadAt(data, disk); err != nil {
		return nil, fmt.Errorf("reading the MBR at byte %d: %w", disk, err)
	}
	problem := func(format string, args ...any) ([]Extent, error) {
		return nil, fmt.Errorf("the MBR at byte %d: %s", disk, fmt.Sprintf(format, args...))
	}
	if mark := data[sectorSize-len(bootMark):]; !bytes.Equal(mark, bootMark) {
		return problem("it ends with % x: want % x", mark, bootMark)
	}
	list := make([]entry, entries)
	if err := binary.Read(bytes.NewReader(data[entriesStart:]), binary.LittleEndian, list); err != nil {
		return nil, err
	}
	var parts []Extent
	for i, e := range list {
		switch {
		case e == entry{}:
			continue
		case i > len(parts):
			return problem("partition %d exists, but not partition %d", i+1, len(parts)+1)
		case i > 1:
			return problem("partition %d: want a root partition and at most a hash partition", i+1)
		case e.Type != linux:
			return problem("partition %d has the type %#x: want %#x", i+1, e.Type, linux)
		}
		parts = append(parts, Extent{int64(e.Start) * sectorSize, int64(e.Size) * sectorSize})
	}
	if len(parts) == 0 {
		return problem("no partition")
	}
	return parts, nil
}
