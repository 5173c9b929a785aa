// Package fvtest makes small firmware volumes for tests.
package fvtest

import (
	"encoding/binary"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
)

// Volume makes a volume of a size in bytes; top is a file that ends where the
// volume does, nil for none.
func Volume(fileSystem fv.GUID, size int, top []byte, files ...[]byte) []byte {
	const header, erasedOnes, revision, block = 72, 0x800, 2, 8
	v := make([]byte, header, size)
	copy(v[16:], fileSystem[:])
	binary.LittleEndian.PutUint64(v[32:], uint64(size))
	copy(v[40:], "_FVH")
	binary.LittleEndian.PutUint32(v[44:], erasedOnes)
	binary.LittleEndian.PutUint16(v[48:], header)
	v[55] = revision
	binary.LittleEndian.PutUint32(v[56:], uint32(size/block))
	binary.LittleEndian.PutUint32(v[60:], block)
	Seal(v)
	for _, f := range files {
		v = append(fill(v, (len(v)+7)/8*8), f...)
	}
	if top != nil {
		v = fill(v, (len(v)+7)/8*8)
		v = append(v, File(fv.GUID{0xff}, 0xf0, make([]byte, size-len(v)-len(top)-fileHeader))...)
		v = append(v, top...)
	}
	return fill(v, size)
}

// Seal writes the checksum of a volume's header anew.
func Seal(volume []byte) {
	binary.LittleEndian.PutUint16(volume[50:], 0)
	var sum uint16
	header := volume[:binary.LittleEndian.Uint16(volume[48:])]
	for ; len(header) >= 2; header = header[2:] {
		sum += binary.LittleEndian.Uint16(header)
	}
	binary.LittleEndian.PutUint16(volume[50:], -sum)
}

func fill(data []byte, size int) []byte {
	for len(data) < size {
		data = append(data, 0xff)
	}
	return data
}

const fileHeader = 24

// File makes a file out of its content.
func File(name fv.GUID, kind byte, content []byte) []byte {
	f := append(make([]byte, fileHeader), content...)
	copy(f, name[:])
	f[18] = kind
	put24(f[20:], len(f))
	SealFile(f)
	return f
}

// SealFile writes the checksum of a file's header anew, and the state of a file
// that is valid.
func SealFile(file []byte) {
	const noChecksum, valid = 0xaa, 0xf8
	file[16], file[17], file[23] = 0, 0, 0
	var sum byte
	for _, b := range file[:fileHeader] {
		sum += b
	}
	file[16], file[17], file[23] = -sum, noChecksum, valid
}

// Sections makes the content of a file, or of a section that has sections.
func Sections(sections ...[]byte) []byte {
	var content []byte
	for _, s := range sections {
		for len(content)%4 != 0 {
			content = append(content, 0)
		}
		content = append(content, s...)
	}
	return content
}

// Section makes a section.
func Section(kind fv.SectionType, content []byte) []byte {
	s := append(make([]byte, 4), content...)
	put24(s, len(s))
	s[3] = byte(kind)
	return s
}

// Compressed makes a section with what Sections made, compressed.
func Compressed(content []byte) []byte {
	const header = 24
	s := make([]byte, header-4)
	copy(s, fv.LZMA[:])
	binary.LittleEndian.PutUint16(s[16:], header)
	return Section(fv.GUIDDefined, append(s, pack(content)...))
}

// Variables makes a volume with an empty store of variables.
func Variables(size int) []byte {
	const header, store = 72, 28
	v := Volume(fv.Variables, size, nil)
	authenticated := fv.GUID{0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92}
	s := v[header : header+store]
	clear(s)
	copy(s, authenticated[:])
	binary.LittleEndian.PutUint32(s[16:], uint32(size-header)/2)
	s[20], s[21] = 0x5a, 0xfe
	return v
}

func put24(data []byte, value int) {
	data[0], data[1], data[2] = byte(value), byte(value>>8), byte(value>>16)
}
