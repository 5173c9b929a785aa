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

// Listing is what is in a tarball. Without an index there are no frames, and no
// shares of members.
type Listing struct {
	Size    int64
	Frames  int
	Members []Sized
}

// Inspect lists a tarball by its index. One without an index is read to its end.
func Inspect(path string) (Listing, error) {
	file, size, err := openFile(path)
	if err != nil {
		return Listing{}, err
	}
	defer file.Close()
	l := Listing{Size: size}
	index, err := readIndex(file, size)
	if errors.Is(err, ErrNoIndex) {
		members, err := List(file)
		for _, m := range members {
			l.Members = append(l.Members, Sized{Member: m})
		}
		return l, err
	}
	if err != nil {
		return Listing{}, err
	}
	l.Frames, l.Members = len(index.Frames), index.Sized()
	return l, nil
}

// Cat writes the content of one file of a tarball to w. The error is fs.ErrNotExist
// if there is no such member; w may have got something before any error.
func Cat(w io.Writer, path, name string) error {
	file, err := Open(path)
	if errors.Is(err, ErrNoIndex) {
		return catStream(w, path, name)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := file.ReadFile(name)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}

// openFile opens a regular file and returns its size.
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

// Index returns what is in the tarball; it must not be changed.
func (f *File) Index() *Index { return f.index }

// Close closes the file. What ReadFile returned must not be read after it.
func (f *File) Close() error { return f.close.Close() }

// ReadFile returns the content of a file, "./opt/kata/bin/x" or opt/kata/bin/x. It
// decompresses only the frames that hold it. The last Read returns an error in
// place of io.EOF if the bytes are not those that the index names. The error is
// fs.ErrNotExist if there is no such member.
func (f *File) ReadFile(name string) (io.ReadCloser, error) {
	full := memberName(name)
	for i, frame := range f.index.Frames {
		at := slices.IndexFunc(frame.Members, func(m Member) bool { return m.Name == full })
		if at < 0 {
			continue
		}
		m := frame.Members[at]
		if !m.Mode.IsRegular() {
			return nil, notFile(m)
		}
		content, err := f.content(i, at)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", m.Name, err)
		}
		return content, nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// content decompresses a member of a frame. Its header must be the one that the
// index says.
func (f *File) content(i, at int) (*content, error) {
	decoder, err := f.decode(i)
	if err != nil {
		return nil, err
	}
	frame := f.index.Frames[i]
	var before int64
	for _, m := range frame.Members[:at] {
		before += tarSize(m, frame.ModTime)
	}
	m := frame.Members[at]
	_, err = io.CopyN(io.Discard, decoder, before)
	if err == nil {
		err = expectHeader(decoder, m, frame.ModTime)
	}
	if err != nil {
		decoder.Close()
		return nil, unexpected(err)
	}
	return &content{decoder: decoder, member: m, left: m.Size, hash: sha256.New()}, nil
}

// decode decompresses the frames of the members that begin in one.
func (f *File) decode(frame int) (*zstd.Decoder, error) {
	packed, _ := f.index.span(frame, f.index.pieces(frame))
	return newDecoder(io.NewSectionReader(f.file, f.index.Frames[frame].Offset, packed))
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

// unexpected turns an end of the data into one that came too soon.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// content reads that of one file.
type content struct {
	decoder *zstd.Decoder
	member  Member
	left    int64
	hash    hash.Hash
}

// Read reads on, and at the end compares the hash.
func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		if err := expectHash(c.hash, c.member); err != nil {
			return 0, fmt.Errorf("reading %s: %w", c.member.Name, err)
		}
		return 0, io.EOF
	}
	n, err := c.decoder.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.hash.Write(p[:n])
	if err != nil && (c.left > 0 || !errors.Is(err, io.EOF)) {
		return n, fmt.Errorf("reading %s: %w", c.member.Name, unexpected(err))
	}
	return n, nil
}

// Close frees the decompressor.
func (c *content) Close() error {
	c.decoder.Close()
	return nil
}

// expectHash compares the hash of a content with that of the index.
func expectHash(hash hash.Hash, m Member) error {
	if got := hex.EncodeToString(hash.Sum(nil)); got != m.SHA256 {
		return fmt.Errorf("the sha256 is %.16s…, the index says %.16s…: the tarball is damaged or its index lies", got, m.SHA256)
	}
	return nil
}

// notFile says why a member has no content.
func notFile(m Member) error {
	if m.Mode.IsDir() {
		return fmt.Errorf("%s is a directory", m.Name)
	}
	return fmt.Errorf("%s is a link to %s", m.Name, m.Link)
}

// memberName completes a name that may lack "./".
func memberName(name string) string { return "./" + strings.TrimPrefix(name, "./") }
