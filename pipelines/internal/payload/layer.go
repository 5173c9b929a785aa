package payload

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// block is the size of a block of a tar stream, in bytes.
const block = 512

// entry is a file of a layer, or a link.
type entry struct {
	name string
	mode int64
	link string
	piece
}

// text is a file with the given content.
func text(name string, content []byte) entry {
	return entry{name: name, mode: 0o644, piece: piece{oci.Bytes(content), int64(len(content))}}
}

// file is a copy of a file on disk.
func file(name string, mode int64, from string) (entry, error) {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return entry{}, err
	}
	info, err := os.Stat(from)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", from)
	}
	if err != nil {
		return entry{}, err
	}
	return entry{name: name, mode: mode, piece: piece{oci.File(from), info.Size()}}, nil
}

// newLayer makes a layer of entries, in their order; hash sets its digest. It is an
// uncompressed tar, assembled from the files each time it is read. Nothing in it
// depends on when and where it is made, so an unchanged component is the same blob in
// every image.
func newLayer(component, title string, entries ...entry) (Layer, error) {
	l := Layer{Component: component, Title: title, mediaType: types.OCIUncompressedLayer}
	var content pieces
	add := func(h tar.Header, p piece) error {
		var head bytes.Buffer
		h.ModTime = time.Unix(0, 0)
		if err := tar.NewWriter(&head).WriteHeader(&h); err != nil {
			return fmt.Errorf("packing %s: %w", h.Name, err)
		}
		padding := (block - p.size%block) % block
		content = append(content, bytesPiece(head.Bytes()), p, bytesPiece(make([]byte, padding)))
		return nil
	}
	seen := map[string]bool{}
	for _, e := range entries {
		for _, folder := range parents(e.name) {
			if seen[folder] {
				continue
			}
			seen[folder] = true
			if err := add(tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755}, piece{}); err != nil {
				return l, err
			}
		}
		h := tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: e.size, Linkname: e.link}
		if e.link != "" {
			h.Typeflag = tar.TypeSymlink
		}
		if err := add(h, e.piece); err != nil {
			return l, err
		}
	}
	content = append(content, bytesPiece(make([]byte, 2*block)))
	for _, p := range content {
		l.Size += p.size
	}
	l.content = content
	return l, nil
}

// parents returns the folders above a name, outermost first: "opt/", "opt/kata/".
func parents(name string) []string {
	var folders []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		folders = append([]string{dir + "/"}, folders...)
	}
	return folders
}

// hash reads the layer once, for the digest.
func (l *Layer) hash(ctx context.Context) error {
	content, err := l.content.Open(0)
	if err != nil {
		return err
	}
	defer content.Close()
	sum, _, err := files.HashReader(ctx, content)
	if err != nil {
		return fmt.Errorf("hashing %s: %w", l.Title, err)
	}
	l.Digest = digest.NewDigestFromEncoded(digest.SHA256, sum)
	l.diffID = hashOf(l.Digest) // Nothing is compressed.
	return nil
}

// piece is a run of bytes of a layer.
type piece struct {
	oci.Content
	size int64
}

func bytesPiece(data []byte) piece { return piece{oci.Bytes(data), int64(len(data))} }

// pieces is the content of a layer.
type pieces []piece

// Open opens the layer at an offset.
func (p pieces) Open(offset int64) (io.ReadCloser, error) {
	for len(p) > 0 && offset >= p[0].size {
		offset, p = offset-p[0].size, p[1:]
	}
	return &reader{pieces: p, skip: offset}, nil
}

// reader reads pieces one after the other. At most one is open.
type reader struct {
	pieces []piece
	// skip is how many bytes of the first piece are left out.
	skip int64
	// current is the first piece once it is open, and left how many of its bytes
	// remain.
	current io.ReadCloser
	left    int64
}

// Read reads on.
func (r *reader) Read(buffer []byte) (n int, err error) {
	for n == 0 && err == nil && len(buffer) > 0 {
		switch {
		case len(r.pieces) == 0:
			return 0, io.EOF
		case r.pieces[0].size == 0:
			r.pieces = r.pieces[1:]
			continue
		case r.current == nil:
			if r.current, err = r.pieces[0].Open(r.skip); err != nil {
				return 0, err
			}
			r.left, r.skip = r.pieces[0].size-r.skip, 0
		}
		n, err = r.current.Read(buffer[:min(int64(len(buffer)), r.left)])
		if r.left -= int64(n); r.left == 0 {
			err = r.end()
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%v is shorter than before: something still writes to it", r.pieces[0].Content)
		}
	}
	return n, err
}

// end closes the first piece, and refuses one that has grown.
func (r *reader) end() error {
	if n, err := io.ReadFull(r.current, make([]byte, 1)); n > 0 {
		return fmt.Errorf("%v is longer than before: something still writes to it", r.pieces[0].Content)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	r.pieces = r.pieces[1:]
	return r.Close()
}

// Close closes the open piece.
func (r *reader) Close() error {
	if r.current == nil {
		return nil
	}
	current := r.current
	r.current = nil
	return current.Close()
}

// member is the content of a file in a tarball.
type member struct{ tarball, name string }

// Open unpacks the file, starting at an offset.
func (m member) Open(offset int64) (io.ReadCloser, error) {
	from, to := io.Pipe()
	go func() { to.CloseWithError(archive.Cat(to, m.tarball, m.name)) }()
	if _, err := io.CopyN(io.Discard, from, offset); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return from, nil
}
