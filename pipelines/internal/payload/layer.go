package payload

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// block is the unit of a tar stream, in bytes.
const block = 512

// entry is a file of a layer: content, or the file at path, or a link.
type entry struct {
	name    string
	mode    int64
	content []byte
	path    string
	link    string
}

// layer is a plain tar whose files are read from the disk each time it is read.
// Nothing in it depends on when and where it is made, so that a component that
// did not change is the same blob in every image.
type layer struct {
	// component is the asset that it holds, or "".
	component string
	// title says what it holds, for people.
	title  string
	pieces []piece
	size   int64
	digest v1.Hash
}

// piece is a run of bytes of a layer: content, or the file at path.
type piece struct {
	content []byte
	path    string
	size    int64
}

// newLayer makes a layer of entries, which stand in the order that is wanted.
// It reads all of them once, for the digest.
func newLayer(ctx context.Context, component, title string, entries []entry) (*layer, error) {
	l := &layer{component: component, title: title}
	seen := map[string]bool{}
	for _, e := range entries {
		for _, folder := range parents(e.name) {
			if seen[folder] {
				continue
			}
			seen[folder] = true
			if err := l.header(&tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		if err := l.add(e); err != nil {
			return nil, fmt.Errorf("packing %s: %w", e.name, err)
		}
	}
	l.append(piece{content: make([]byte, 2*block), size: 2 * block})
	hash := sha256.New()
	content, err := l.Open(0)
	if err == nil {
		err = copyTo(ctx, hash, content)
	}
	if err != nil {
		return nil, fmt.Errorf("hashing %s: %w", title, err)
	}
	l.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}
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

func (l *layer) add(e entry) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content))}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	case e.path != "":
		info, err := os.Stat(e.path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", e.path)
		}
		h.Size = info.Size()
	}
	if err := l.header(h); err != nil {
		return err
	}
	l.append(piece{content: e.content, path: e.path, size: h.Size})
	if rest := h.Size % block; rest != 0 {
		l.append(piece{content: make([]byte, block-rest), size: block - rest})
	}
	return nil
}

func (l *layer) header(h *tar.Header) error {
	var buffer bytes.Buffer
	h.ModTime = time.Unix(0, 0)
	if err := tar.NewWriter(&buffer).WriteHeader(h); err != nil {
		return err
	}
	l.append(piece{content: buffer.Bytes(), size: int64(buffer.Len())})
	return nil
}

func (l *layer) append(p piece) {
	if p.size > 0 {
		l.pieces = append(l.pieces, p)
		l.size += p.size
	}
}

// Open returns the bytes from an offset on.
func (l *layer) Open(offset int64) (io.ReadCloser, error) {
	return &reader{pieces: l.pieces, skip: offset}, nil
}

// reader reads pieces one after the other, with one file open at a time.
type reader struct {
	pieces []piece
	// skip is how many bytes are still to be left out.
	skip int64
	// current is what is left of the first piece, and file the one that it reads.
	current *io.SectionReader
	file    *os.File
}

// Read reads on.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.pieces) > 0 {
		if r.current == nil {
			if err := r.begin(); err != nil {
				return 0, err
			}
		}
		n, err := r.current.Read(p)
		if n > 0 {
			return n, nil
		}
		if at, _ := r.current.Seek(0, io.SeekCurrent); at < r.current.Size() {
			return 0, fmt.Errorf("%s is shorter than before: something still writes to it (%w)", r.pieces[0].path, err)
		}
		r.current, r.pieces = nil, r.pieces[1:]
		if err := r.Close(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// begin opens the first piece.
func (r *reader) begin() (err error) {
	p, from := r.pieces[0], io.ReaderAt(bytes.NewReader(r.pieces[0].content))
	if p.path != "" {
		if r.file, err = os.Open(p.path); err != nil {
			return err
		}
		from = r.file
	}
	skip := min(r.skip, p.size)
	r.current = io.NewSectionReader(from, skip, p.size-skip)
	r.skip -= skip
	return nil
}

// Close closes the open file.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	file := r.file
	r.file = nil
	return file.Close()
}

// copyTo copies and closes what it copies; it ends early with the context.
func copyTo(ctx context.Context, to io.Writer, from io.ReadCloser) error {
	_, err := files.Copy(ctx, to, from)
	return errors.Join(err, from.Close())
}

// What follows makes it a v1.Layer, whose blob is the tar itself.

// Digest returns that of the blob.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the same, since nothing is compressed.
func (l *layer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Compressed returns the blob.
func (l *layer) Compressed() (io.ReadCloser, error) { return l.Open(0) }

// Uncompressed returns the blob too.
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.Open(0) }

// Size returns that of the blob in bytes.
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType says that nothing is compressed.
func (l *layer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
