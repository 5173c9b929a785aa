// Package fv reads firmware images as the UEFI Platform Initialization
// specification lays them out: firmware volumes one after the other, in each
// the files of a firmware file system, in each file sections, of which some have
// volumes again, compressed or not.
package fv

import (
	"encoding/binary"
	"fmt"
)

// Image is a whole file, as it is put into the flash of a machine.
type Image struct {
	Volumes []Volume
	// Padding is how many bytes follow the last volume, all of them the same
	// 0x00 or 0xff.
	Padding int
}

// Volume is one firmware volume.
type Volume struct {
	// Offset is where it begins in the image, Length its size, in bytes.
	Offset, Length int
	// FileSystem says what is in it.
	FileSystem GUID
	// Name is that of its extended header, zero where it has none.
	Name GUID
	// Header is the length of its headers, after which its content begins.
	Header int
	// Files are those of a volume with a firmware file system, without the
	// fillers between them; others have none.
	Files []File
}

// Layout of a volume's header.
const (
	fileSystemAt   = 16
	lengthAt       = 32
	signatureAt    = 40
	attributesAt   = 44
	headerLengthAt = 48
	extHeaderAt    = 52
	revisionAt     = 55
	blockMapAt     = 56

	signature = "_FVH"
	revision  = 2
	// blockEntry is the size of an entry of the block map, extHeader that of an
	// extended header without its entries.
	blockEntry = 8
	extHeader  = 20
	// erasedOnes is the attribute of flash whose erased bits are ones.
	erasedOnes = 0x800
	// alignment is what volumes begin at a multiple of.
	alignment = 4096
)

// Parse reads an image. The error says what is wrong first, and where: bytes
// that belong to nothing, headers that contradict each other, wrong checksums.
func Parse(image []byte) (*Image, error) {
	parsed := &Image{}
	for offset := 0; offset < len(image); {
		if !isVolume(image[offset:]) {
			length, err := filler(image, offset)
			if err != nil {
				return nil, err
			}
			if offset += length; offset == len(image) {
				parsed.Padding = length
			}
			continue
		}
		volume, err := parseVolume(image[offset:], offset)
		if err != nil {
			return nil, fmt.Errorf("reading the volume at %#x: %w", offset, err)
		}
		parsed.Volumes = append(parsed.Volumes, volume)
		offset += volume.Length
	}
	if len(parsed.Volumes) == 0 {
		return nil, fmt.Errorf("no firmware volume in its %d bytes: no header has the signature %s", len(image), signature)
	}
	return parsed, nil
}

func isVolume(data []byte) bool {
	return len(data) >= blockMapAt && string(data[signatureAt:signatureAt+len(signature)]) == signature
}

// filler returns how many bytes there are before the next volume, or the end of
// the image.
func filler(image []byte, offset int) (int, error) {
	value := image[offset]
	if value != 0x00 && value != 0xff {
		return 0, fmt.Errorf("the bytes at %#x belong to no firmware volume", offset)
	}
	end := offset
	for end < len(image) {
		if end%alignment == 0 && isVolume(image[end:]) {
			break
		}
		stop := min(end-end%alignment+alignment, len(image))
		if same := leading(image[end:stop], value); same < stop-end {
			return 0, fmt.Errorf("the bytes at %#x belong to no firmware volume", end+same)
		}
		end = stop
	}
	return end - offset, nil
}

// leading counts the first bytes that have the value.
func leading(data []byte, value byte) int {
	for i, b := range data {
		if b != value {
			return i
		}
	}
	return len(data)
}

// parseVolume reads the volume that data begins with.
func parseVolume(data []byte, offset int) (Volume, error) {
	length := binary.LittleEndian.Uint64(data[lengthAt:])
	header := int(binary.LittleEndian.Uint16(data[headerLengthAt:]))
	switch {
	case length > uint64(len(data)):
		return Volume{}, fmt.Errorf("it has %d bytes by its header, but the image has %d from there", length, len(data))
	case header < blockMapAt+blockEntry || header%2 != 0 || uint64(header) > length:
		return Volume{}, fmt.Errorf("its header has a length of %d in a volume of %d bytes", header, length)
	case data[revisionAt] != revision:
		return Volume{}, fmt.Errorf("its header has revision %d: want %d", data[revisionAt], revision)
	case sum16(data[:header]) != 0:
		return Volume{}, fmt.Errorf("the checksum of its header is wrong: the sum is %#04x", sum16(data[:header]))
	}
	data = data[:length]
	v := Volume{Offset: offset, Length: len(data), FileSystem: GUID(data[fileSystemAt:lengthAt]), Header: header}
	if err := checkBlocks(data[blockMapAt:header], length); err != nil {
		return Volume{}, err
	}
	if err := v.extended(data); err != nil {
		return Volume{}, err
	}
	if v.FileSystem != FileSystem2 && v.FileSystem != FileSystem3 {
		return v, nil
	}
	erased := byte(0x00)
	if binary.LittleEndian.Uint32(data[attributesAt:])&erasedOnes != 0 {
		erased = 0xff
	}
	var err error
	v.Files, err = parseFiles(data, v.Header, erased, v.FileSystem == FileSystem3)
	return v, err
}

// checkBlocks holds the block map against the length.
func checkBlocks(entries []byte, length uint64) error {
	var total uint64
	for len(entries) >= blockEntry {
		count, size := binary.LittleEndian.Uint32(entries), binary.LittleEndian.Uint32(entries[4:])
		entries = entries[blockEntry:]
		if count == 0 && size == 0 {
			if total != length {
				return fmt.Errorf("its blocks have %d bytes together, but it has %d", total, length)
			}
			return nil
		}
		total += uint64(count) * uint64(size)
	}
	return fmt.Errorf("its block map has no end")
}

// extended reads the extended header, where there is one.
func (v *Volume) extended(data []byte) error {
	at := int(binary.LittleEndian.Uint16(data[extHeaderAt:]))
	if at == 0 {
		return nil
	}
	if at < v.Header || at+extHeader > len(data) {
		return fmt.Errorf("its extended header is at %#x, outside of it", at)
	}
	size := binary.LittleEndian.Uint32(data[at+len(GUID{}):])
	if size < extHeader || uint64(at)+uint64(size) > uint64(len(data)) {
		return fmt.Errorf("its extended header has %d bytes at %#x of %d", size, at, len(data))
	}
	v.Name = GUID(data[at : at+len(GUID{})])
	v.Header = at + int(size)
	return nil
}

// sum16 adds up 16-bit words.
func sum16(data []byte) uint16 {
	var sum uint16
	for ; len(data) >= 2; data = data[2:] {
		sum += binary.LittleEndian.Uint16(data)
	}
	return sum
}

// sum8 adds up bytes.
func sum8(data []byte) byte {
	var sum byte
	for _, b := range data {
		sum += b
	}
	return sum
}

// Content returns the bytes of a volume after its headers.
func (v Volume) Content(image []byte) []byte { return image[v.Offset+v.Header : v.Offset+v.Length] }
