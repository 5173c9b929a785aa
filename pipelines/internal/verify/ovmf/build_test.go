package ovmf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/ulikunitz/xz/lzma"
)

// bytesOf returns a GUID as it is stored.
func bytesOf(guid string) []byte {
	raw, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil {
		panic(err)
	}
	for _, group := range [][]byte{raw[:4], raw[4:6], raw[6:8]} {
		slices.Reverse(group)
	}
	return raw
}

// makeVolume makes a volume of a size in bytes; top is a file that ends where the
// volume does, nil for none.
func makeVolume(fileSystem string, size int, top []byte, files ...[]byte) []byte {
	const header, erasedOnes, revision, block = 72, 0x800, 2, 8
	v := make([]byte, header, size)
	copy(v[16:], bytesOf(fileSystem))
	binary.LittleEndian.PutUint64(v[32:], uint64(size))
	copy(v[40:], "_FVH")
	binary.LittleEndian.PutUint32(v[44:], erasedOnes)
	binary.LittleEndian.PutUint16(v[48:], header)
	v[55] = revision
	binary.LittleEndian.PutUint32(v[56:], uint32(size/block))
	binary.LittleEndian.PutUint32(v[60:], block)
	seal(v)
	for _, f := range files {
		v = append(fill(v, (len(v)+7)/8*8), f...)
	}
	if top != nil {
		v = fill(v, (len(v)+7)/8*8)
		v = append(v, makeFile("ffffffff-0000-0000-0000-000000000000", 0xf0, make([]byte, size-len(v)-len(top)-fileHeader))...)
		v = append(v, top...)
	}
	return fill(v, size)
}

// seal writes the checksum of a volume's header.
func seal(volume []byte) {
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

// makeFile makes a file out of its content.
func makeFile(name string, kind byte, content []byte) []byte {
	f := append(make([]byte, fileHeader), content...)
	copy(f, bytesOf(name))
	f[18] = kind
	put24(f[20:], len(f))
	sealFile(f)
	return f
}

// sealFile writes the checksum of a file's header, and the state of a valid file.
func sealFile(file []byte) {
	const noChecksum, valid = 0xaa, 0xf8
	file[16], file[17], file[23] = 0, 0, 0
	var sum byte
	for _, b := range file[:fileHeader] {
		sum += b
	}
	file[16], file[17], file[23] = -sum, noChecksum, valid
}

// makeSections makes the content of a file, or of a section that has sections.
func makeSections(sections ...[]byte) []byte {
	var content []byte
	for _, s := range sections {
		for len(content)%4 != 0 {
			content = append(content, 0)
		}
		content = append(content, s...)
	}
	return content
}

// makeSection makes a section.
func makeSection(kind byte, content []byte) []byte {
	s := append(make([]byte, 4), content...)
	put24(s, len(s))
	s[3] = kind
	return s
}

// makeCompressed makes a section with what Sections made, compressed.
func makeCompressed(content []byte) []byte {
	const header = 24
	s := make([]byte, header-4)
	copy(s, bytesOf(lzmaSection))
	binary.LittleEndian.PutUint16(s[16:], header)
	return makeSection(0x02, append(s, packed(content)...))
}

// makeVariables makes a volume with an empty store of variables.
func makeVariables(size int) []byte {
	const header, store = 72, 28
	v := makeVolume(variables, size, nil)
	const authenticated = "aaf32c78-947b-439a-a180-2e144ec37792"
	s := v[header : header+store]
	clear(s)
	copy(s, bytesOf(authenticated))
	binary.LittleEndian.PutUint32(s[16:], uint32(size-header)/2)
	s[20], s[21] = 0x5a, 0xfe
	return v
}

func put24(data []byte, value int) {
	data[0], data[1], data[2] = byte(value), byte(value>>8), byte(value>>16)
}

// testBlock is one of the table at the end of firmware for x86_64.
type testBlock struct {
	GUID string
	Data []byte
}

// makeTop makes the end of firmware for x86_64: some code, what blocks point to, the
// table of blocks, and the reset vector. A block whose data is nil points to the
// bytes of target that have its GUID.
func makeTop(blocks []testBlock, target map[string][]byte) []byte {
	const behindTable = 32
	size := 2 + 16
	for _, b := range blocks {
		size += len(b.data()) + 2 + 16
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
		table = binary.LittleEndian.AppendUint16(table, uint16(len(data)+2+16))
		table = append(table, bytesOf(b.GUID)...)
	}
	table = binary.LittleEndian.AppendUint16(table, uint16(size))
	table = append(table, bytesOf(footer)...)
	table = append(table, make([]byte, 12)...)
	table = append(table, "VTF\x00"...)
	return append(table, reset(len(table))...)
}

func (b testBlock) data() []byte {
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

// makeDescriptor makes what a block of metadata points to, out of its entries, which
// are numbers of 32 bits.
func makeDescriptor(signature string, entries ...[]uint32) []byte {
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

// packed compresses with LZMA.
func packed(data []byte) []byte {
	var out bytes.Buffer
	w, err := lzma.WriterConfig{SizeInHeader: true, Size: int64(len(data))}.NewWriter(&out)
	if err == nil {
		_, err = w.Write(data)
	}
	if err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}
