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
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// File is a tarball with an index, opened for reading.
type File struct {
	file  io.ReaderAt
	close io.Closer
	index *Index
}

// Open opens a tarball and reads its index. The error wraps ErrNoIndex if it has
// none.
func Open(path string) (*File, error) {
	file, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	index, err := readIndex(file, size)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading the index of %s: %w", path, err)
	}
	return &File{file: file, close: file, index: index}, nil
}

func openFile(path string) (*os.File, int64, error) {
	file, err := files.OpenNamed(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// Index returns the index of the tarball. The caller must not change it.
func (f *File) Index() *Index { return f.index }

// Close closes the file, and readers that ReadFile returned must not be used after it.
func (f *File) Close() error { return f.close.Close() }

// Cat writes the content of one file of a tarball to w. The error is fs.ErrNotExist
// if there is no such member. Before an error, w may have received data.
func Cat(w io.Writer, path, name string) error {
	tarball, size, err := openFile(path)
	if err != nil {
		return err
	}
	defer tarball.Close()
	index, err := readIndex(tarball, size)
	if errors.Is(err, ErrNoIndex) {
		return copyFile(w, tarball, name)
	}
	if err != nil {
		return fmt.Errorf("reading the index of %s: %w", path, err)
	}
	content, err := (&File{file: tarball, index: index}).ReadFile(name)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}

// ReadFile returns the content of a file, "./opt/kata/bin/x" or opt/kata/bin/x. It
// decompresses only the frames that hold it. The last Read returns an error in
// place of io.EOF if the hash differs from that in the index. The error is
// fs.ErrNotExist if there is no such member.
func (f *File) ReadFile(name string) (io.ReadCloser, error) {
	full := memberName(name)
	for i, frame := range f.index.Frames {
		at := slices.IndexFunc(frame.Members, func(m Member) bool { return m.Name == full })
		if at < 0 {
			continue
		}
		if m := frame.Members[at]; !m.Mode.IsRegular() {
			return nil, notFile(m)
		}
		return f.read(i, at)
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// read decompresses a member of a frame.
func (f *File) read(i, at int) (io.ReadCloser, error) {
	decoder, err := f.decode(i)
	if err != nil {
		return nil, err
	}
	frame := f.index.Frames[i]
	modTime, before := f.index.modTime(frame), int64(0)
	for _, m := range frame.Members[:at] {
		before += tarSize(m, modTime)
	}
	if _, err := io.CopyN(io.Discard, decoder, before); err != nil {
		decoder.Close()
		return nil, fmt.Errorf("reading %s: %w", frame.Members[at].Name, unexpected(err))
	}
	content, err := newContent(decoder, frame.Members[at], modTime)
	if err != nil {
		decoder.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{content, decoder.IOReadCloser()}, nil
}

// decode decompresses a frame and the pieces that follow it.
func (f *File) decode(frame int) (*zstd.Decoder, error) { return NewDecoder(f.section(frame)) }

// section is the stretch of the file with a frame and the pieces that follow it.
func (f *File) section(frame int) *io.SectionReader {
	offset, _ := f.index.span(0, frame)
	packed, _ := f.index.span(frame, f.index.pieces(frame))
	return io.NewSectionReader(f.file, offset, packed)
}

// content reads the content of one member, and compares it with the index.
type content struct {
	from   io.Reader
	member Member
	left   int64
	hash   hash.Hash
}

// newContent reads the header of a member, and compares it with the index.
func newContent(from io.Reader, m Member, modTime time.Time) (*content, error) {
	want, err := headerBytes(m, modTime)
	if err != nil {
		return nil, err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil {
		return nil, fmt.Errorf("reading %s: %w", m.Name, unexpected(err))
	}
	if !bytes.Equal(want, got) {
		return nil, fmt.Errorf("the index lies: another member than %s is there", m.Name)
	}
	return &content{from: from, member: m, left: m.Size, hash: sha256.New()}, nil
}

// Read compares the hash at the end of the file.
func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		got := hex.EncodeToString(c.hash.Sum(nil))
		if c.member.Mode.IsRegular() && got != c.member.SHA256 {
			return 0, fmt.Errorf("reading %s: the sha256 is %.16s…, but the index says %.16s…: the tarball is damaged or its index lies",
				c.member.Name, got, c.member.SHA256)
		}
		return 0, io.EOF
	}
	n, err := c.from.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.hash.Write(p[:n])
	if err != nil && (c.left > 0 || !errors.Is(err, io.EOF)) {
		return n, fmt.Errorf("reading %s: %w", c.member.Name, unexpected(err))
	}
	return n, nil
}

// unexpected turns io.EOF into io.ErrUnexpectedEOF, for data that ends too soon.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func notFile(m Member) error {
	if m.Mode.IsDir() {
		return fmt.Errorf("%s is a directory", m.Name)
	}
	return fmt.Errorf("%s is a link to %s", m.Name, m.Link)
}

// memberName completes a name that may lack "./".
func memberName(name string) string { return "./" + strings.TrimPrefix(name, "./") }
