package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

const (
	// maxListing bounds the memory that names and links of one tarball take.
	maxListing = 64 << 20
	// maxTrailer is how many zeros may fill up the last record of a tar stream.
	maxTrailer = 1 << 20
)

// zeros is one block of the two that end a tar stream.
var zeros [blockSize]byte

// List reads a tarball to its end and returns its members in their order, with
// the hashes of the files. Memory is bounded whatever the tarball says. A
// tarball that was cut short, that holds anything Pack would refuse, or that
// other programs would extract differently, is an error; names may leave out
// "./" and come in any order, directories may stand several times, and a root
// member is passed over, so that tarballs built elsewhere can be read.
func List(r io.Reader) ([]Member, error) { return walk(r, maxUnpacked, read) }

// read makes a member of a header and the content that follows it.
func read(h *tar.Header, content io.Reader) (Member, error) {
	m := Member{Name: "./" + strings.TrimPrefix(h.Name, "./"), Mode: fs.FileMode(h.Mode) & fs.ModePerm}
	switch h.Typeflag {
	case tar.TypeDir:
		m.Mode |= fs.ModeDir
		m.Name = strings.TrimSuffix(m.Name, "/") + "/"
	case tar.TypeSymlink:
		m.Mode |= fs.ModeSymlink
		m.Link = h.Linkname
	default:
		m.Size = h.Size
	}
	if err := CheckMember(m); err != nil {
		return Member{}, err
	}
	if m.Mode.IsRegular() {
		hash := sha256.New()
		if _, err := io.Copy(hash, content); err != nil {
			return Member{}, fmt.Errorf("reading %s: %w", m.Name, err)
		}
		m.SHA256 = hex.EncodeToString(hash.Sum(nil))
	}
	return m, nil
}

// atEnd makes sure that the stream ended where it says: archive/tar takes one
// that was cut between two members, or within the headers of one, for complete,
// and does not look at what follows the end. Left are the bytes after the last
// content that archive/tar has read.
func atEnd(stream *countReader, left []byte) error {
	switch {
	case len(left) < endSize:
		return fmt.Errorf("the tar stream ends without its final blocks: %w", io.ErrUnexpectedEOF)
	case len(left) > endSize || !bytes.Equal(left, make([]byte, endSize)):
		return fmt.Errorf("the tar stream ends in a header of no member: %w", io.ErrUnexpectedEOF)
	}
	buffer := make([]byte, 32*blockSize)
	for end := stream.n; ; {
		n, err := stream.Read(buffer)
		if stream.n-end > maxTrailer {
			return fmt.Errorf("more than %d zeros follow the end of the tar stream", maxTrailer)
		}
		for piece := buffer[:n]; len(piece) > 0; {
			k := min(len(piece), blockSize)
			if !bytes.Equal(piece[:k], zeros[:k]) {
				return errors.New("data follows the end of the tar stream")
			}
			piece = piece[k:]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the end of the tarball: %w", err)
		}
	}
}

// countReader counts the bytes that pass, and ends after max of them. Between
// note and noted it keeps them.
type countReader struct {
	from   io.Reader
	n, max int64
	heads  []byte
	noting bool
}

func (c *countReader) note() { c.heads, c.noting = c.heads[:0], true }

// noted returns what passed since note, after skip bytes.
func (c *countReader) noted(skip int64) []byte {
	c.noting = false
	return c.heads[min(skip, int64(len(c.heads))):]
}

// Read passes on what it gets.
func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.n += int64(n); c.n > c.max {
		return 0, tooMuch(c.max)
	}
	if c.noting {
		if len(c.heads)+n > maxHeads {
			return 0, fmt.Errorf("the headers of one member take more than %d bytes", maxHeads)
		}
		c.heads = append(c.heads, p[:n]...)
	}
	return n, err
}

func tooMuch(limit int64) error {
	return fmt.Errorf("the tarball unpacks to more than %d bytes", limit)
}
