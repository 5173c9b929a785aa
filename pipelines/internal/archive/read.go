package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Extract reads a tarball to its end, as List does, and on the way writes files
// to where place says: "" for one that is not wanted. It is called with the
// member's name and its size in bytes, and may refuse it. The files must not be
// there before, so that no member stands twice; after an error none is left.
func Extract(r io.Reader, place func(name string, size int64) (path string, err error)) (members []Member, err error) {
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				os.Remove(path)
			}
		}
	}()
	return walk(r, maxUnpacked, func(h *tar.Header, content io.Reader) (m Member, err error) {
		if h.Typeflag != tar.TypeReg {
			return read(h, content)
		}
		path, err := place("./"+strings.TrimPrefix(h.Name, "./"), h.Size)
		if err != nil {
			return Member{}, fmt.Errorf("extracting %s: %w", h.Name, err)
		}
		if path == "" {
			return read(h, content)
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return Member{}, fmt.Errorf("extracting %s: %s is there already: does the member stand twice?", h.Name, path)
		}
		if err != nil {
			return Member{}, fmt.Errorf("extracting %s: %w", h.Name, err)
		}
		made = append(made, path)
		defer func() { err = errors.Join(err, file.Close()) }()
		return read(h, io.TeeReader(content, file))
	})
}

// CopyFile writes the content of one file to w, and reads the tarball to its end
// for that: for tarballs without an index. The error is fs.ErrNotExist where
// there is no such member; w may have got something before any error.
func CopyFile(w io.Writer, r io.Reader, name string) error {
	name = memberName(name)
	var found *Member
	_, err := walk(r, maxUnpacked, func(h *tar.Header, content io.Reader) (Member, error) {
		here := h.Typeflag == tar.TypeReg && memberName(h.Name) == name
		if here && found != nil {
			return Member{}, fmt.Errorf("%s stands twice", name)
		}
		if here {
			content = io.TeeReader(content, w)
		}
		m, err := read(h, content)
		if m.Name == name {
			found = &m
		}
		return m, err
	})
	switch {
	case err != nil:
		return err
	case found == nil:
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case !found.Mode.IsRegular():
		return noFile(*found)
	}
	return nil
}

// noFile says why a member has no content.
func noFile(m Member) error {
	if m.Mode.IsDir() {
		return fmt.Errorf("%s is a directory", m.Name)
	}
	return fmt.Errorf("%s is a link to %s", m.Name, m.Link)
}

// walk reads a tarball to its end, of at most limit bytes unpacked, and returns
// what each makes of its members, whose content it must read. What each gets has
// passed vetHeader; how the names go together is known at the end alone.
func walk(r io.Reader, limit int64, each func(h *tar.Header, content io.Reader) (Member, error)) ([]Member, error) {
	decoder, err := newDecoder(r)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	stream := &countReader{from: decoder, max: limit}
	tarball := tar.NewReader(stream)
	var members []Member
	size, fill := 0, int64(0) // of the list, and after the content before
	for {
		stream.note()
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
		if h.Size > limit-stream.n && !sparse(h) {
			return nil, fmt.Errorf("%q says to have %d bytes: %w", h.Name, h.Size, tooMuch(limit))
		}
		if err := vetHeader(h, heads); err != nil {
			return nil, err
		}
		fill = padding(h.Size)
		if h.Typeflag == tar.TypeDir && (h.Name == "./" || h.Name == ".") {
			continue
		}
		m, err := each(h, tarball)
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
