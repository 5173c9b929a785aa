package fv

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The file systems of volumes with files; the third has files of 16 MiB and
// more.
var (
	FileSystem2 = GUID{0x78, 0xe5, 0x8c, 0x8c, 0x3d, 0x8a, 0x1c, 0x4f, 0x99, 0x35, 0x89, 0x61, 0x85, 0xc3, 0x2d, 0xd3}
	FileSystem3 = GUID{0x7a, 0xc0, 0x73, 0x54, 0xcb, 0x3d, 0xca, 0x4d, 0xbd, 0x6f, 0x1e, 0x96, 0x89, 0xe7, 0x34, 0x9a}
)

// File is a file of a firmware file system.
type File struct {
	Name GUID
	Type FileType
	// Offset is where it begins in its volume, Length its size with its header,
	// in bytes.
	Offset, Length int
	// Sections are the outermost ones, of a file that has any.
	Sections []Section
}

// FileType says what a file is for.
type FileType byte

// The types that have no sections, or none that are read here.
const (
	Raw      FileType = 0x01
	fillFile FileType = 0xf0
)

// Section is a part of a file.
type Section struct {
	Type SectionType
	// Length is its size with its header, in bytes.
	Length int
	// GUID says how the content of a GUIDDefined section is wrapped.
	GUID GUID
	// Data is its content, wrapped where the section is GUIDDefined.
	Data []byte
}

// SectionType says what is in a section.
type SectionType byte

// Some types of sections.
const (
	GUIDDefined SectionType = 0x02
	PE32        SectionType = 0x10
	TE          SectionType = 0x12
	VolumeImage SectionType = 0x17
)

// Layout of the header of a file, and of a section.
const (
	fileHeader      = 24
	largeFileHeader = 32
	headerSumAt     = 16
	fileSumAt       = 17
	fileTypeAt      = 18
	fileAttrsAt     = 19
	fileSizeAt      = 20
	fileStateAt     = 23

	largeFile    = 0x01
	withChecksum = 0x40
	// noChecksum stands for that of a file's content where it has none.
	noChecksum = 0xaa
	// valid is the state of a file that was written and neither replaced nor
	// deleted.
	valid = 0x07

	fileAlignment    = 8
	sectionAlignment = 4
	sectionHeader    = 4
	// extended is the size of a section whose real one follows.
	extendedSize = 0xffffff
)

// parseFiles reads the files of a volume from an offset on.
func parseFiles(volume []byte, offset int, erased byte, large bool) ([]File, error) {
	var files []File
	for {
		offset = align(offset, fileAlignment)
		if offset >= len(volume) {
			return files, nil
		}
		rest := volume[offset:]
		if free := leading(rest, erased); free == len(rest) {
			return files, nil
		} else if free >= fileHeader {
			return nil, fmt.Errorf("the free space at %#x is written to at %#x", offset, offset+free)
		}
		file, err := parseFile(rest, erased, large)
		if err != nil {
			return nil, fmt.Errorf("reading the file at %#x: %w", offset, err)
		}
		file.Offset = offset
		if file.Type != fillFile {
			files = append(files, file)
		}
		offset += file.Length
	}
}

// parseFile reads the file that data begins with.
func parseFile(data []byte, erased byte, large bool) (File, error) {
	if len(data) < fileHeader {
		return File{}, fmt.Errorf("%d bytes are left: too few for its header", len(data))
	}
	header, length := fileHeader, uint24(data[fileSizeAt:])
	if attributes := data[fileAttrsAt]; attributes&largeFile != 0 && large {
		if len(data) < largeFileHeader {
			return File{}, fmt.Errorf("%d bytes are left: too few for its header", len(data))
		}
		size := binary.LittleEndian.Uint64(data[fileHeader:])
		if size > uint64(len(data)) {
			return File{}, fmt.Errorf("it has %d bytes by its header, but the volume has %d from there", size, len(data))
		}
		header, length = largeFileHeader, int(size)
	}
	if length < header || length > len(data) {
		return File{}, fmt.Errorf("it has %d bytes by its header, but the volume has %d from there", length, len(data))
	}
	f := File{Name: GUID(data[:headerSumAt]), Type: FileType(data[fileTypeAt]), Length: length}
	if err := checkFile(data[:length], header, erased); err != nil {
		return File{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	if f.Type == Raw || f.Type == fillFile {
		return f, nil
	}
	var err error
	if f.Sections, err = parseSections(data[header:length]); err != nil {
		return File{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	return f, nil
}

// checkFile checks the state and the checksums of a file.
func checkFile(file []byte, header int, erased byte) error {
	// The sum of the header leaves out what changes after it was written.
	sum := sum8(file[:header]) - file[fileSumAt] - file[fileStateAt]
	if sum != 0 {
		return fmt.Errorf("the checksum of its header is wrong: the sum is %#02x", sum)
	}
	if state := file[fileStateAt] ^ erased; state != valid {
		return fmt.Errorf("its state is %#02x: want %#02x, that of a valid file", state, valid)
	}
	switch {
	case file[fileAttrsAt]&withChecksum == 0 && file[fileSumAt] != noChecksum:
		return fmt.Errorf("it has the checksum %#02x, but says that it has none", file[fileSumAt])
	case file[fileAttrsAt]&withChecksum != 0 && sum8(file[header:])+file[fileSumAt] != 0:
		return errors.New("the checksum of its content is wrong")
	}
	return nil
}

// parseSections reads the sections of a file.
func parseSections(data []byte) ([]Section, error) {
	var sections []Section
	for offset := 0; offset < len(data); offset = align(offset, sectionAlignment) {
		rest := data[offset:]
		if len(rest) < sectionHeader {
			return nil, fmt.Errorf("%d bytes are left after its section %d", len(rest), len(sections))
		}
		header, length := sectionHeader, uint24(rest)
		if length == extendedSize && len(rest) >= 2*sectionHeader {
			header, length = 2*sectionHeader, int(binary.LittleEndian.Uint32(rest[sectionHeader:]))
		}
		if length < header || length > len(rest) {
			return nil, fmt.Errorf("its section %d has %d bytes by its header, but %d are left", len(sections)+1, length, len(rest))
		}
		s := Section{Type: SectionType(rest[3]), Length: length, Data: rest[header:length]}
		if s.Type == GUIDDefined {
			var err error
			if s.GUID, s.Data, err = wrapped(rest[:length], header); err != nil {
				return nil, fmt.Errorf("its section %d: %w", len(sections)+1, err)
			}
		}
		sections = append(sections, s)
		offset += length
	}
	return sections, nil
}

// wrapped reads the GUID of a section, and where its content begins.
func wrapped(section []byte, header int) (GUID, []byte, error) {
	const offset, attributes = 2, 2
	after := header + len(GUID{})
	if len(section) < after+offset+attributes {
		return GUID{}, nil, fmt.Errorf("%d bytes are too few for a GUID", len(section))
	}
	begin := int(binary.LittleEndian.Uint16(section[after:]))
	if begin < after+offset+attributes || begin > len(section) {
		return GUID{}, nil, fmt.Errorf("its content is at %#x of %#x bytes", begin, len(section))
	}
	return GUID(section[header:after]), section[begin:], nil
}

func uint24(data []byte) int { return int(data[0]) | int(data[1])<<8 | int(data[2])<<16 }

func align(offset, to int) int { return (offset + to - 1) / to * to }
