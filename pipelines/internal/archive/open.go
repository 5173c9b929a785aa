package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/zstd"
)

// File is a tarball with an index, opened for reading.
type File struct {
	file  io.ReaderAt
	close io.Closer
	size  int64
	index *Index
	names map[string]int // numbers of entries
}

// Open opens a tarball and reads its index. The error wraps ErrNoIndex where it
// has none.
func Open(path string) (*File, error) {
	file, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	f, err := newFile(file, size)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading the index of %s: %w", path, err)
	}
	f.close = file
	return f, nil
}

func newFile(r io.ReaderAt, size int64) (*File, error) {
	index, err := ReadIndex(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{file: r, size: size, index: index, names: make(map[string]int, len(index.Entries))}
	for i, e := range index.Entries {
		f.names[e.Name] = i
	}
	return f, nil
}

// Index returns what is in the tarball, for reading alone.
func (f *File) Index() *Index { return f.index }

// Size is the length of the tarball in bytes, with its index.
func (f *File) Size() int64 { return f.size }

// Close closes the file. What ReadFile returned must not be read after it.
func (f *File) Close() error { return f.close.Close() }

// ReadFile returns the content of a file, "./opt/kata/bin/x" or opt/kata/bin/x,
// decompressing the frames that hold it and no others. The last Read returns an
// error in place of io.EOF where the bytes are not those that the index names.
// The error is fs.ErrNotExist where there is no such member.
func (f *File) ReadFile(name string) (io.ReadCloser, error) {
	i, found := f.names[memberName(name)]
	if !found {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	e := f.index.Entries[i]
	if !e.Mode.IsRegular() {
		return nil, noFile(e.Member)
	}
	decoder, err := f.decode(e.Frame)
	if err != nil {
		return nil, err
	}
	if err := f.seek(decoder, i); err != nil {
		decoder.Close()
		return nil, fmt.Errorf("reading %s: %w", e.Name, err)
	}
	return &content{decoder: decoder, entry: e, left: e.Size, hash: sha256.New()}, nil
}

// decode decompresses the frames of the members that begin in one.
func (f *File) decode(frame int) (*zstd.Decoder, error) {
	return newDecoder(f.section(frame))
}

func (f *File) section(frame int) *io.SectionReader {
	return io.NewSectionReader(f.file, f.index.Frames[frame].Offset, f.index.span(frame, f.index.pieces(frame)))
}

// seek passes over the members before an entry of the same frame, and over its
// header, which must be the one that the index says.
func (f *File) seek(decoder io.Reader, entry int) error {
	frame := f.index.Entries[entry].Frame
	modTime := f.index.Frames[frame].ModTime
	var before int64
	for i := entry - 1; i >= 0 && f.index.Entries[i].Frame == frame; i-- {
		before += tarSize(f.index.Entries[i].Member, modTime)
	}
	if _, err := io.CopyN(io.Discard, decoder, before); err != nil {
		return unexpected(err)
	}
	return expectHeader(decoder, f.index.Entries[entry].Member, modTime)
}

// expectHeader reads the header of a member.
func expectHeader(r io.Reader, m Member, modTime time.Time) error {
	want, err := headerBytes(m, modTime)
	if err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return unexpected(err)
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("the index lies: another member than %s is there", m.Name)
	}
	return nil
}

// unexpected makes of an end of the data one that came too soon.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// content reads that of one file.
type content struct {
	decoder *zstd.Decoder
	entry   Entry
	left    int64
	hash    hash.Hash
}

// Read reads on, and at the end compares the hash.
func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		if sum := hex.EncodeToString(c.hash.Sum(nil)); sum != c.entry.SHA256 {
			return 0, fmt.Errorf("reading %s: %w", c.entry.Name, differs(sum, c.entry.SHA256))
		}
		return 0, io.EOF
	}
	n, err := c.decoder.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.hash.Write(p[:n])
	if err != nil && (c.left > 0 || !errors.Is(err, io.EOF)) {
		return n, fmt.Errorf("reading %s: %w", c.entry.Name, unexpected(err))
	}
	return n, nil
}

// Close frees the decompressor.
func (c *content) Close() error {
	c.decoder.Close()
	return nil
}

func differs(got, want string) error {
	return fmt.Errorf("its sha256 is %.16s…, the index says %.16s…: the tarball is damaged or its index lies", got, want)
}

func memberName(name string) string {
	if len(name) > 1 && name[:2] == "./" {
		return name
	}
	return "./" + name
}
