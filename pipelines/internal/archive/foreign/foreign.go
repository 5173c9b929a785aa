// Package foreign takes selected members out of archives that other projects publish: a
// tar in zstd, gzip, xz or plain, a zip, a bare program, or a folder.
//
// The one idea: an archive is a stream of entries, and the members to take are patterns
// of their names. Each entry is either written to its place or skipped, in one pass and
// in little memory, and reading stops when nothing more can match: of two members of one
// name the first counts then. Links are made last, so that nothing is written through one.
//
// The content decides the format, not the name of the file. The package trusts no archive:
// names that leave the archive are refused, and owners, times and special modes are
// dropped. It does not decide which architecture a program is for, and it does not pack:
// package archive does.
package foreign

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Archive is an archive that is read once from its beginning; a zip is read at random.
type Archive interface {
	io.Reader
	io.ReaderAt
	Size() int64
}

// Taken is a member that was taken: From is its name in the archive, and the rest is what
// it becomes. The sha256 is always set for a file.
type Taken struct {
	From string
	archive.Member
}

// Extract writes the members of an archive below dir, or only hashes them if dir is "".
// The error lists all members that the archive lacks.
func Extract(ctx context.Context, from Archive, members []Member, dir string) ([]Taken, error) {
	return take(members, dir, func(t *taker) error {
		head := make([]byte, 4)
		if n, err := from.ReadAt(head, 0); n < len(head) && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.HasPrefix(head, []byte("PK")) {
			return t.zip(ctx, from)
		}
		return t.stream(files.Reader(ctx, from))
	})
}

// ExtractFolder is Extract for the files of a folder.
func ExtractFolder(ctx context.Context, folder string, members []Member, dir string) ([]Taken, error) {
	return take(members, dir, func(t *taker) error {
		root, err := os.OpenRoot(folder)
		if err != nil {
			return err
		}
		defer root.Close()
		return fs.WalkDir(root.FS(), ".", func(name string, item fs.DirEntry, err error) error {
			switch {
			case err != nil || name == ".":
				return err
			case !t.more():
				return fs.SkipAll
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return t.file(root, name, item)
		})
	})
}

func (t *taker) file(root *os.Root, name string, item fs.DirEntry) error {
	info, err := item.Info()
	if err != nil {
		return err
	}
	return t.take(entry{name: name, mode: info.Mode()}, func() (io.ReadCloser, error) {
		if info.Mode().Type() != fs.ModeSymlink {
			return root.Open(name)
		}
		target, err := root.Readlink(name)
		return text(target), err
	})
}

func text(content string) io.ReadCloser { return io.NopCloser(strings.NewReader(content)) }

// Sum returns the sha256, in hex, of what was taken: its paths, modes and contents.
func Sum(taken []Taken) string {
	hash := sha256.New()
	for _, m := range slices.SortedFunc(slices.Values(taken), func(a, b Taken) int { return strings.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(hash, "%q %o %s %q\n", m.Name, m.Mode, m.SHA256, m.Link)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// stream reads a tar or a program, which may be compressed.
func (t *taker) stream(from io.Reader) error {
	plain, closer, err := Decompress(bufio.NewReaderSize(from, 128<<10))
	if err != nil {
		return err
	}
	defer closer()
	content := bufio.NewReader(plain)
	head, err := content.Peek(tarHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the archive: %w", err)
	}
	switch {
	case len(head) == tarHeader && bytes.HasPrefix(head[tarMagic:], []byte("ustar")):
		return t.tar(&tail{from: content})
	case isProgram(head):
		return t.program(content)
	}
	return fmt.Errorf("want a tar in zstd, gzip, xz or plain, a zip, or a program, but it begins with %q", head[:min(len(head), 8)])
}

// A header of a tar has its magic at an offset; zeros of the length of two headers end it.
const tarHeader, tarMagic, tarEnd = 512, 257, 1024

// IsProgram reports whether a file is a bare program, which may be compressed. Of a folder
// it is false.
func IsProgram(path string) (bool, error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return false, err
	}
	file, err := files.OpenNamed(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	plain, closer, err := Decompress(bufio.NewReader(file))
	if err != nil {
		return false, err
	}
	defer closer()
	head := make([]byte, 4)
	if _, err := io.ReadFull(plain, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the archive: %w", err)
	}
	return isProgram(head), nil
}

// isProgram tells by the first bytes whether a file is an ELF file or a script.
func isProgram(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x7fELF")) || bytes.HasPrefix(head, []byte("#!"))
}

// Decompress returns the content of a compressed file, or the file itself.
func Decompress(from *bufio.Reader) (plain io.Reader, closer func(), err error) {
	head, err := from.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("reading the archive: %w", err)
	}
	closer = func() {}
	switch {
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		var decoder *zstd.Decoder
		// Decoding in the calling goroutine is as fast, and leaves a processor to the hash.
		decoder, err = archive.NewDecoder(from)
		if err == nil {
			plain, closer = decoder, decoder.Close
		}
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		plain, err = gzip.NewReader(from)
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		plain, err = xz.NewReader(from)
	default:
		return from, closer, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decompressing the archive: %w", err)
	}
	return plain, closer, nil
}

// tail counts the zeros at the end of what was read.
type tail struct {
	from  io.Reader
	zeros int
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	rest := len(bytes.TrimRight(p[:n], "\x00"))
	if rest > 0 {
		t.zeros = 0
	}
	t.zeros += n - rest
	return n, err
}

func (t *taker) tar(content *tail) error {
	from := tar.NewReader(content)
	for t.more() {
		h, err := from.Next()
		if errors.Is(err, io.EOF) && content.zeros >= tarEnd {
			return nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // Package tar does not notice a cut between members.
		}
		if err != nil {
			return fmt.Errorf("reading the tar after %d members: %w", t.seen, err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, content := entry{name: h.Name, mode: h.FileInfo().Mode()}, io.NopCloser(from)
		switch h.Typeflag {
		case tar.TypeLink:
			e.hard = h.Linkname
		case tar.TypeSymlink:
			content = text(h.Linkname)
		}
		if err := t.take(e, func() (io.ReadCloser, error) { return content, nil }); err != nil {
			return err
		}
	}
	return nil
}

func (t *taker) zip(ctx context.Context, from Archive) error {
	z, err := zip.NewReader(from, from.Size())
	if err != nil {
		return fmt.Errorf("reading the zip: %w", err)
	}
	for _, f := range z.File {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		system := f.CreatorVersion >> 8
		e := entry{name: f.Name, mode: f.Mode(), modeless: system != zipUnix && system != zipDarwin}
		if err := t.take(e, f.Open); err != nil {
			return err
		}
	}
	return nil
}

// The systems whose zips have the modes of files.
const zipUnix, zipDarwin = 3, 19
