package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Extract reads a tarball to its end, as List does, and on the way writes files
// to where place says: "" for one that is not wanted. It is called with the
// member's name and its size in bytes, and may refuse it. The files must not be
// there before, so that no member stands twice; after an error some may be there
// in part.
func Extract(r io.Reader, place func(name string, size int64) (path string, err error)) ([]Member, error) {
	return walk(r, func(h *tar.Header, content io.Reader) (m Member, err error) {
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
		defer func() { err = errors.Join(err, file.Close()) }()
		return read(h, io.TeeReader(content, file))
	})
}

// walk reads a tarball to its end and returns what each makes of its members.
func walk(r io.Reader, each func(h *tar.Header, content io.Reader) (Member, error)) ([]Member, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("reading the zstd stream: %w", err)
	}
	defer decoder.Close()
	stream := &countReader{from: decoder}
	tarball := tar.NewReader(stream)
	var members []Member
	size := 0
	for {
		before := stream.n
		h, err := tarball.Next()
		if errors.Is(err, io.EOF) {
			return members, atEnd(stream, before)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tar stream after %d members: %w", len(members), err)
		}
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
