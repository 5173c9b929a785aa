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
	"os"
	"path/filepath"
)

const (
	// maxListing bounds the memory that names and links of one tarball take.
	maxListing = 64 << 20
	// maxTrailer is how many zeros may follow the end of a tar stream, to fill a record.
	maxTrailer = 1 << 20
)

// List reads a tarball to its end and returns its members in their order, with
// the hashes of the files. Memory is bounded whatever the tarball says. A
// tarball that was cut short, that holds anything Pack would refuse, or that
// other programs would extract differently, is an error. So that tarballs of other
// programs can be read, names may lack "./" and come in any order, directories may
// appear several times, and a member for the root is skipped.
func List(r io.Reader) ([]Member, error) {
	return walk(r, maxUnpacked, func(Member, io.Reader) error { return nil })
}

// Unpack reads a tarball to its end, as List does, and writes its files and links below a
// folder, the files with their modes whatever the umask. Links come last, so that no file
// is written through one. The files must not exist before, so no member is unpacked
// twice. After an error, what was written so far is left behind: callers unpack into
// temporary folders.
func Unpack(r io.Reader, dir string) ([]Member, error) {
	members, err := walk(r, maxUnpacked, func(m Member, content io.Reader) error {
		if !m.Mode.IsRegular() {
			return nil
		}
		path := filepath.Join(dir, m.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("duplicate member %s, or %s exists", m.Name, path)
		}
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", m.Name, err)
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Chmod(m.Mode.Perm()), file.Close())
	})
	for _, m := range members {
		if path := filepath.Join(dir, m.Name); m.Link != "" && err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(m.Link, path))
		}
	}
	return members, err
}

// copyFile is Cat for a tarball without an index, which is read to its end.
func copyFile(w io.Writer, r io.Reader, name string) error {
	var found *Member
	_, err := walk(r, maxUnpacked, func(m Member, content io.Reader) error {
		if m.Name != memberName(name) {
			return nil
		}
		found = &m
		_, err := io.Copy(w, content)
		return err
	})
	switch {
	case err != nil:
		return err
	case found == nil:
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case !found.Mode.IsRegular():
		return notFile(*found)
	}
	return nil
}

// walk reads a tarball of at most limit bytes unpacked to its end, and returns its
// members. It calls each with every member, whose hash is not known yet, and its
// content. The header has passed vetHeader; the names are compared with each other
// only at the end.
func walk(r io.Reader, limit int64, each func(m Member, content io.Reader) error) ([]Member, error) {
	decoder, err := NewDecoder(r)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	stream := &countReader{from: decoder, max: limit}
	tarball := tar.NewReader(stream)
	var members []Member
	size, fill := 0, int64(0) // of the list; of the zeros after the previous content
	for {
		stream.heads, stream.noting = stream.heads[:0], true
		h, err := tarball.Next()
		heads := stream.noted(fill)
		if errors.Is(err, io.EOF) {
			if err := atEnd(stream, heads); err != nil {
				return nil, err
			}
			return members, checkNames(members, true)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tar stream after %d members: %w", len(members), err)
		}
		if err := vetHeader(h, heads); err != nil {
			return nil, err
		}
		if h.Size > limit-stream.n {
			return nil, fmt.Errorf("%q claims to have %d bytes: %w", h.Name, h.Size, tooMuch(limit))
		}
		fill = padding(h.Size)
		if h.Typeflag == tar.TypeDir && (h.Name == "./" || h.Name == ".") {
			continue
		}
		m, err := read(h, tarball, each)
		if err != nil {
			return nil, err
		}
		size += len(m.Name) + len(m.Link) + 128
		if size > maxListing {
			return nil, fmt.Errorf("more than %d members: refusing to list them", len(members))
		}
		members = append(members, m)
	}
}

func read(h *tar.Header, content io.Reader, each func(m Member, content io.Reader) error) (Member, error) {
	m := memberOf(h)
	if err := CheckMember(m); err != nil {
		return Member{}, err
	}
	hash := sha256.New()
	if err := each(m, io.TeeReader(content, hash)); err != nil {
		return Member{}, err
	}
	if m.Mode.IsRegular() {
		if _, err := io.Copy(hash, content); err != nil {
			return Member{}, fmt.Errorf("reading %s: %w", m.Name, err)
		}
		m.SHA256 = hex.EncodeToString(hash.Sum(nil))
	}
	return m, nil
}

// atEnd makes sure that the stream is complete: archive/tar does not notice one that
// was cut between two members, or within the headers of one, and ignores what
// follows the end. Left holds the bytes that it has read after the last content.
func atEnd(stream *countReader, left []byte) error {
	switch {
	case len(left) < endSize:
		return fmt.Errorf("the tar stream ends without its final blocks: %w", io.ErrUnexpectedEOF)
	case len(left) > endSize || !allZero(left):
		return fmt.Errorf("the tar stream ends in a header without its member: %w", io.ErrUnexpectedEOF)
	}
	buffer := make([]byte, 32*blockSize)
	for end := stream.n; ; {
		n, err := stream.Read(buffer)
		switch {
		case stream.n-end > maxTrailer:
			return fmt.Errorf("more than %d zeros follow the end of the tar stream", maxTrailer)
		case !allZero(buffer[:n]):
			return errors.New("data follows the end of the tar stream")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the end of the tarball: %w", err)
		}
	}
}

func allZero(data []byte) bool { return len(bytes.Trim(data, "\x00")) == 0 }

// countReader counts the bytes that pass, and ends after max of them. Between
// note and noted it keeps them.
type countReader struct {
	from   io.Reader
	n, max int64
	heads  []byte
	noting bool
}

// noted returns what passed since note, after skip bytes.
func (c *countReader) noted(skip int64) []byte {
	c.noting = false
	return c.heads[min(skip, int64(len(c.heads))):]
}

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
