package archive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The index is a skippable frame at the end of the file: its magic number, the
// length of what follows as 32 bits little-endian, the zstd frame of the JSON,
// and a trailer by which a reader finds it from the end: that length again and
// indexMark. A zstd decompressor skips it.
const (
	indexFormat = 1
	indexMagic  = 0x184d2a5b
	indexMark   = "kata-ix1"
	indexHead   = 8
	indexTail   = 4 + len(indexMark)
	// maxIndex bounds the JSON, and with it the memory that an index takes:
	// some 50,000 members.
	maxIndex = 8 << 20
	// minElement is the least number of bytes that the JSON has for each comma
	// between values: the shortest frame, {"size":1,"unpacked":1,"time":1}, has three.
	minElement = 10
)

type indexJSON struct {
	Format int `json:"format"`
	*Index
}

// memberJSON is a member in the index. Its name and link tell its type.
type memberJSON struct {
	Name   string `json:"name"` // ends with a slash for a directory
	Mode   string `json:"mode"` // octal
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of a file
	Link   string `json:"link,omitempty"`   // of a symbolic link
}

// MarshalJSON writes a member as the index has it.
func (m Member) MarshalJSON() ([]byte, error) {
	return encodeJSON(memberJSON{m.Name, fmt.Sprintf("%04o", m.Mode.Perm()), m.Size, m.SHA256, m.Link})
}

// UnmarshalJSON reads a member as the index has it.
func (m *Member) UnmarshalJSON(text []byte) error {
	var from memberJSON
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	mode, err := strconv.ParseUint(from.Mode, 8, 9)
	if err != nil {
		return fmt.Errorf("%q has mode %q", from.Name, from.Mode)
	}
	*m = Member{Name: from.Name, Mode: fs.FileMode(mode), Size: from.Size, SHA256: from.SHA256, Link: from.Link}
	switch {
	case strings.HasSuffix(m.Name, "/"):
		m.Mode |= fs.ModeDir
	case m.Link != "":
		m.Mode |= fs.ModeSymlink
	}
	return nil
}

func encodeJSON(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return buffer.Bytes(), err
}

func (x *Index) encode() ([]byte, error) {
	text, err := encodeJSON(indexJSON{indexFormat, x})
	if err != nil {
		return nil, fmt.Errorf("encoding the index: %w", err)
	}
	if len(text) > maxIndex {
		return nil, fmt.Errorf("the index of %d members takes %d bytes, and at most %d are allowed: ship fewer files, or an image of them",
			len(x.Members()), len(text), maxIndex)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("starting the compressor: %w", err)
	}
	packed := encoder.EncodeAll(text, make([]byte, indexHead, len(text)/2+64))
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("compressing the index: %w", err)
	}
	length := uint32(len(packed) - indexHead + indexTail)
	binary.LittleEndian.PutUint32(packed, indexMagic)
	binary.LittleEndian.PutUint32(packed[4:], length)
	packed = binary.LittleEndian.AppendUint32(packed, length)
	return append(packed, indexMark...), nil
}

// unpackIndex returns the JSON in the skippable frame at the end of a file, and
// where that frame begins.
func unpackIndex(r io.ReaderAt, size int64) (text []byte, offset int64, err error) {
	tail := make([]byte, indexTail)
	if size < int64(indexHead+indexTail) {
		return nil, 0, ErrNoIndex
	}
	if _, err := r.ReadAt(tail, size-int64(indexTail)); err != nil {
		return nil, 0, fmt.Errorf("reading the end of the tarball: %w", err)
	}
	if string(tail[4:]) != indexMark {
		return nil, 0, ErrNoIndex
	}
	length := int64(binary.LittleEndian.Uint32(tail))
	offset = size - length - indexHead
	if length < int64(indexTail) || length > maxIndex || offset < 0 {
		return nil, 0, fmt.Errorf("the index claims %d bytes of a tarball of %d", length, size)
	}
	packed := make([]byte, indexHead+length)
	if _, err := r.ReadAt(packed, offset); err != nil {
		return nil, 0, fmt.Errorf("reading the index: %w", err)
	}
	if binary.LittleEndian.Uint32(packed) != indexMagic || int64(binary.LittleEndian.Uint32(packed[4:])) != length {
		return nil, 0, errors.New("the index does not begin where its trailer says")
	}
	text, err = unpackBounded(packed[indexHead:len(packed)-indexTail], maxIndex)
	if err != nil {
		return nil, 0, fmt.Errorf("unpacking the index: %w", err)
	}
	return text, offset, nil
}

func unpackBounded(packed []byte, limit int64) ([]byte, error) {
	decoder, err := NewDecoder(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	text, err := io.ReadAll(io.LimitReader(decoder, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return text, nil
}

// decodeIndex reads the JSON, and refuses any text but the one that encode writes:
// readers must not differ in what they ignore.
func decodeIndex(text []byte) (*Index, error) {
	if n := elements(text); n > len(text)/minElement {
		return nil, fmt.Errorf("the index has %d values in %d bytes: this program did not write it", n, len(text))
	}
	x := indexJSON{Index: &Index{}}
	err := json.Unmarshal(text, &x)
	if x.Format != 0 && x.Format != indexFormat {
		return nil, fmt.Errorf("the index has format %d: this program reads %d", x.Format, indexFormat)
	}
	var again []byte
	if err == nil {
		again, err = encodeJSON(indexJSON{indexFormat, x.Index})
	}
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	if !bytes.Equal(text, again) {
		return nil, errors.New("the index is not written as this program writes it")
	}
	return x.Index, nil
}

// elements counts the commas between the values of a JSON text. They bound the
// frames and members that a decoder can be made to allocate.
func elements(text []byte) (n int) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case quoted && text[i] == '\\':
			i++
		case !quoted && text[i] == ',':
			n++
		}
	}
	return n
}
