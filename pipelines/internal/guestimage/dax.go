package guestimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// headerStart is where the nvdimm driver of Linux looks for a header.
	headerStart = 4 * kib
	headerSize  = 4 * kib
	// ramMode has Linux keep its page structures in memory and not on the device.
	ramMode = 1
	// headerMinor is the version whose header has an alignment.
	headerMinor = 2
)

// signature begins a DAX header.
var signature = [16]byte([]byte("NVDIMM_PFN_INFO\x00"))

// header is a DAX header, struct nd_pfn_sb. All its numbers are little endian.
type header struct {
	Signature        [16]byte
	UUID, ParentUUID [16]byte
	Flags            uint32
	Major, Minor     uint16
	// DataOffset is where the device begins, after the header.
	DataOffset, Frames    uint64
	Mode                  uint32
	StartPad, EndTruncate uint32
	Align                 uint32
	Padding               [4000]byte
	Checksum              uint64
}

// newHeader returns the header of a device that begins at a byte of the image. An NVDIMM of
// QEMU has no labels, and then Linux compares no UUIDs.
func newHeader(start int64) header {
	h := header{Signature: signature, Minor: headerMinor, DataOffset: uint64(start), Mode: ramMode, Align: uint32(start)}
	h.Checksum = h.sum()
	return h
}

func (h header) encode() []byte {
	var data bytes.Buffer
	_ = binary.Write(&data, binary.LittleEndian, h) // Writing to memory does not fail.
	return data.Bytes()
}

// sum is the Fletcher checksum, of 32-bit words, of a header without its checksum.
func (h header) sum() uint64 {
	h.Checksum = 0
	var low uint32
	var high uint64
	for data := h.encode(); len(data) > 0; data = data[4:] {
		low += binary.LittleEndian.Uint32(data)
		high += uint64(low)
	}
	return high<<32 | uint64(low)
}

// readHeader returns the DAX header of an image, nil if it has none.
func readHeader(from io.ReaderAt) (*header, error) {
	var h header
	err := binary.Read(io.NewSectionReader(from, headerStart, headerSize), binary.LittleEndian, &h)
	if err != nil {
		return nil, fmt.Errorf("reading the DAX header at byte %d: %w", headerStart, err)
	}
	if h.Signature == ([16]byte{}) {
		return nil, nil
	}
	return &h, nil
}

// check refuses what Linux refuses, and devices that begin elsewhere.
func (h header) check() error {
	if h.Signature != signature {
		return fmt.Errorf("the signature is %q: want %q", h.Signature, signature)
	}
	if sum := h.sum(); h.Checksum != sum {
		return fmt.Errorf("the checksum is %#016x: want %#016x", h.Checksum, sum)
	}
	var problems []error
	for _, field := range []struct {
		name      string
		got, want uint64
	}{
		{"minor version", uint64(h.Minor), headerMinor}, {"data offset", h.DataOffset, daxStart}, {"mode", uint64(h.Mode), ramMode},
		{"alignment", uint64(h.Align), daxStart}, {"start padding", uint64(h.StartPad), 0}, {"truncation", uint64(h.EndTruncate), 0},
	} {
		if field.got != field.want {
			problems = append(problems, fmt.Errorf("the %s is %d: want %d", field.name, field.got, field.want))
		}
	}
	return errors.Join(problems...)
}
