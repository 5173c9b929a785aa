package ovmf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

const (
	// The file systems of volumes: files, and the variables of UEFI.
	fileSystem2 = "8c8ce578-8a3d-4f1c-9935-896185c32dd3"
	variables   = "fff12b8d-7696-4c8b-a985-2747075b4f50"

	// lzmaSection is a section that has sections compressed with LZMA.
	lzmaSection = "ee4e5898-3914-4259-9d6e-dc7bd79403cf"

	// maxUnpacked is far more than the memory that firmware unpacks itself into, and
	// maxDepth how deep volumes and compressed sections may nest.
	maxUnpacked = 64 << 20
	maxDepth    = 4
)

// volume is a firmware volume of the UEFI Platform Initialization specification.
// Only what tells the variants of a firmware apart is read: the file systems, and
// the files by name.
type volume struct {
	// offset is where it begins in the image.
	offset     int
	fileSystem string
	// data is the whole volume, whose content begins after header bytes.
	data   []byte
	header int
	// files are those of the volume, each followed by those of the volumes in it.
	files []file
}

// file is a file of a volume, with its header.
type file struct {
	name string
	data []byte
}

func filesOf(volumes []volume) (files []file) {
	for _, v := range volumes {
		files = append(files, v.files...)
	}
	return files
}

// guid returns the text form of the GUID that data begins with.
func guid(data []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(data), le.Uint16(data[4:]), le.Uint16(data[6:]), data[8:10], data[10:16])
}

func uint24(data []byte) int { return int(data[0]) | int(data[1])<<8 | int(data[2])<<16 }

// leading counts the first bytes that have the value.
func leading(data []byte, value byte) int {
	for i, b := range data {
		if b != value {
			return i
		}
	}
	return len(data)
}

// parseVolumes reads the volumes of an image, and skips the padding around them. Depth
// is the number of sections around an image within another.
func parseVolumes(image []byte, depth int) (volumes []volume, err error) {
	const alignment, smallest = 4096, 64
	for offset := 0; offset < len(image); {
		rest := image[offset:]
		if len(rest) >= smallest && string(rest[40:44]) == "_FVH" {
			v, err := parseVolume(rest, depth)
			if err != nil {
				return nil, fmt.Errorf("reading the volume at %#x: %w", offset, err)
			}
			v.offset = offset
			volumes = append(volumes, v)
			offset += len(v.data)
			continue
		}
		step := min(alignment-offset%alignment, len(rest))
		if blank := max(leading(rest[:step], 0x00), leading(rest[:step], 0xff)); blank < step {
			return nil, fmt.Errorf("the bytes at %#x belong to no firmware volume", offset+blank)
		}
		offset += step
	}
	if len(volumes) == 0 {
		return nil, fmt.Errorf("no firmware volume in its %d bytes", len(image))
	}
	return volumes, nil
}

func parseVolume(data []byte, depth int) (v volume, err error) {
	le := binary.LittleEndian
	length, header, extended := le.Uint64(data[32:]), int(le.Uint16(data[48:])), int(le.Uint16(data[52:]))
	switch {
	case length > uint64(len(data)):
		return v, fmt.Errorf("it has %d bytes by its header, but the image has %d from there", length, len(data))
	case header < 56 || uint64(header) > length:
		return v, fmt.Errorf("its header has a length of %d in a volume of %d bytes", header, length)
	}
	var sum uint16
	for at := 0; at+1 < header; at += 2 {
		sum += le.Uint16(data[at:])
	}
	if sum != 0 {
		return v, fmt.Errorf("the checksum of its header is wrong: the sum is %#04x", sum)
	}
	v = volume{fileSystem: guid(data[16:]), data: data[:length], header: header}
	if extended != 0 {
		const size = 20
		if extended < header || extended+size > len(v.data) {
			return v, fmt.Errorf("its extended header is at %#x, outside of it", extended)
		}
		more := uint64(le.Uint32(data[extended+16:]))
		if more < size || uint64(extended)+more > length {
			return v, fmt.Errorf("its extended header has %d bytes at %#x of %#x", more, extended, length)
		}
		v.header = extended + int(more)
	}
	if v.fileSystem == fileSystem2 {
		v.files, err = parseFiles(v.data, v.header, depth)
	}
	return v, err
}

// parseFiles reads the files of a volume from an offset on.
func parseFiles(data []byte, offset, depth int) (files []file, err error) {
	const header, raw, filler = 24, 0x01, 0xf0
	for {
		offset = (offset + 7) &^ 7
		if offset >= len(data) || leading(data[offset:], 0xff) == len(data)-offset {
			return files, nil
		}
		rest := data[offset:]
		if len(rest) < header {
			return nil, fmt.Errorf("reading the file at %#x: %d bytes are left", offset, len(rest))
		}
		size, kind := uint24(rest[20:]), rest[18]
		if size < header || size > len(rest) {
			return nil, fmt.Errorf("reading the file at %#x: it has %d bytes by its header, but the volume has %d from there", offset, size, len(rest))
		}
		f := file{guid(rest), rest[:size]}
		if kind != filler {
			files = append(files, f)
		}
		if kind != filler && kind != raw {
			nested, err := parseSections(f.data[header:], depth)
			if err != nil {
				return nil, fmt.Errorf("unpacking the file %s: %w", f.name, err)
			}
			files = append(files, nested...)
		}
		offset += size
	}
}

// parseSections reads the files of the volumes in the sections of a file.
func parseSections(data []byte, depth int) (files []file, err error) {
	const guided, volumeImage, extended = 0x02, 0x17, 0xffffff
	for offset, n := 0, 1; offset < len(data); n++ {
		rest := data[offset:]
		if len(rest) < 4 {
			return nil, fmt.Errorf("%d bytes are left after its section %d", len(rest), n-1)
		}
		header, size := 4, uint24(rest)
		if size == extended && len(rest) >= 8 {
			header, size = 8, int(binary.LittleEndian.Uint32(rest[4:]))
		}
		if size < header || size > len(rest) {
			return nil, fmt.Errorf("its section %d has %d bytes by its header, but %d are left", n, size, len(rest))
		}
		var nested []file
		switch kind := rest[3]; {
		case depth > maxDepth: // What is nested deeper is not read.
		case kind == volumeImage:
			var volumes []volume
			volumes, err = parseVolumes(rest[header:size], depth+1)
			nested = filesOf(volumes)
		case kind == guided:
			nested, err = unwrap(rest[header:size], header, depth)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, nested...)
		offset = (offset + size + 3) &^ 3
	}
	return files, nil
}

// unwrap returns the files in an encapsulated section; it unpacks only LZMA.
func unwrap(content []byte, header, depth int) ([]file, error) {
	if len(content) < 20 {
		return nil, fmt.Errorf("%d bytes are too few for a GUID", len(content))
	}
	begin := int(binary.LittleEndian.Uint16(content[16:])) - header
	if begin < 20 || begin > len(content) {
		return nil, fmt.Errorf("its content is at %#x of %#x bytes", begin, len(content))
	}
	if guid(content) != lzmaSection {
		return nil, nil
	}
	var unpacked []byte
	stream, err := lzma.NewReader(bytes.NewReader(content[begin:]))
	if err == nil {
		unpacked, err = io.ReadAll(io.LimitReader(stream, maxUnpacked+1))
	}
	if err == nil && len(unpacked) > maxUnpacked {
		err = fmt.Errorf("more than %d bytes", maxUnpacked)
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking LZMA: %w", err)
	}
	return parseSections(unpacked, depth+1)
}

// emptyStore checks that a volume has a formatted, healthy and empty store of
// variables, as a new machine does, and returns its size in bytes.
func (v volume) emptyStore() (int, error) {
	const (
		header                = 28
		formatted, healthy    = 0x5a, 0xfe
		authenticatedVariable = "aaf32c78-947b-439a-a180-2e144ec37792"
	)
	store, at := v.data[v.header:], v.offset+v.header
	if len(store) < header {
		return 0, fmt.Errorf("the volume at %#x has no room for a store of variables", v.offset)
	}
	size := int(binary.LittleEndian.Uint32(store[16:]))
	switch {
	case guid(store) != authenticatedVariable:
		return 0, fmt.Errorf("the store at %#x has the GUID %s: want %s, of authenticated variables", at, guid(store), authenticatedVariable)
	case size < header || size > len(store):
		return 0, fmt.Errorf("the store at %#x has %d bytes in a volume with room for %d", at, size, len(store))
	case store[20] != formatted || store[21] != healthy:
		return 0, fmt.Errorf("the store at %#x has format %#02x and state %#02x: want %#02x and %#02x", at, store[20], store[21], formatted, healthy)
	}
	if used := leading(store[header:size], 0xff); used < size-header {
		return 0, fmt.Errorf("there is a variable at %#x: want an empty store", at+header+used)
	}
	return size, nil
}
