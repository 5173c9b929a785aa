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
	"time"

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
	// minElement is how many bytes of the JSON there are at least for each comma
	// between values: the shortest frame, {"size":1,"unpacked":1,"time":1}, has three.
	minElement = 10
)

// indexJSON is the content of the index. Offsets and numbers of frames follow
// from the order, so that they cannot be wrong.
type indexJSON struct {
	Format int         `json:"format"`
	Time   int64       `json:"time"` // of all members, in seconds since 1970
	Frames []frameJSON `json:"frames"`
}

type frameJSON struct {
	Size     int64        `json:"size"`           // in the file
	Unpacked int64        `json:"unpacked"`       // in the tar stream
	Time     *int64       `json:"time,omitempty"` // if it differs
	Members  []memberJSON `json:"members,omitempty"`
}

type memberJSON struct {
	Name   string `json:"name"` // ends with a slash for a directory
	Mode   string `json:"mode"` // octal
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of a file
	Link   string `json:"link,omitempty"`   // of a symbolic link
}

// encode returns the skippable frame of an index.
func (x *Index) encode() ([]byte, error) {
	text, err := x.json()
	if err != nil {
		return nil, err
	}
	if len(text) > maxIndex {
		return nil, fmt.Errorf("the index of %d members takes %d bytes, and may take %d: ship fewer files, or an image of them", len(x.Members()), len(text), maxIndex)
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

// json is canonical: an index has one text.
func (x *Index) json() ([]byte, error) {
	out := indexJSON{Format: indexFormat, Time: x.ModTime.Unix(), Frames: make([]frameJSON, len(x.Frames))}
	for i, f := range x.Frames {
		to := frameJSON{Size: f.Size, Unpacked: f.Unpacked}
		if at := f.ModTime.Unix(); at != out.Time {
			to.Time = &at
		}
		for _, m := range f.Members {
			to.Members = append(to.Members, memberJSON{
				Name: m.Name, Mode: fmt.Sprintf("%04o", m.Mode.Perm()), Size: m.Size, SHA256: m.SHA256, Link: m.Link,
			})
		}
		out.Frames[i] = to
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		return nil, fmt.Errorf("encoding the index: %w", err)
	}
	return buffer.Bytes(), nil
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

// unpackBounded decompresses at most limit bytes.
func unpackBounded(packed []byte, limit int64) ([]byte, error) {
	decoder, err := newDecoder(bytes.NewReader(packed))
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

// decodeIndex reads the JSON, and refuses any text but the one that json writes:
// readers must not differ in what they ignore.
func decodeIndex(text []byte) (*Index, error) {
	if n := elements(text); n > len(text)/minElement {
		return nil, fmt.Errorf("the index has %d values in %d bytes: this program did not write it", n, len(text))
	}
	var from indexJSON
	err := json.Unmarshal(text, &from)
	if from.Format != 0 && from.Format != indexFormat {
		return nil, fmt.Errorf("the index has format %d: this program reads %d", from.Format, indexFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	x, err := from.index()
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	again, err := x.json()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(text, again) {
		return nil, errors.New("the index is not written as this program writes it")
	}
	return x, nil
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

// index makes the offsets, kinds and modes of what the JSON says.
func (x *indexJSON) index() (*Index, error) {
	out := &Index{ModTime: time.Unix(x.Time, 0)}
	for i, f := range x.Frames {
		if f.Size <= 0 || f.Unpacked <= 0 {
			return nil, fmt.Errorf("frame %d has %d bytes, and unpacks to %d", i, f.Size, f.Unpacked)
		}
		frame := Frame{Size: f.Size, Unpacked: f.Unpacked, ModTime: out.ModTime}
		if f.Time != nil {
			frame.ModTime = time.Unix(*f.Time, 0)
		}
		for _, m := range f.Members {
			member, err := m.member()
			if err != nil {
				return nil, err
			}
			frame.Members = append(frame.Members, member)
		}
		out.append(frame, i == len(x.Frames)-1)
	}
	return out, nil
}

func (m memberJSON) member() (Member, error) {
	mode, err := strconv.ParseUint(m.Mode, 8, 9)
	if err != nil {
		return Member{}, fmt.Errorf("%q has mode %q", m.Name, m.Mode)
	}
	out := Member{Name: m.Name, Mode: fs.FileMode(mode), Size: m.Size, SHA256: m.SHA256, Link: m.Link}
	switch {
	case strings.HasSuffix(m.Name, "/"):
		out.Mode |= fs.ModeDir
	case m.Link != "":
		out.Mode |= fs.ModeSymlink
	}
	return out, nil
}
