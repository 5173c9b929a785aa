// Package kimage reads kernel images: what format one has and for which
// architecture, by magic numbers; which release it says it is; and what is
// inside of it, the configuration of IKCONFIG, the types of BTF and the notes
// that tell one build from another.
//
// Images are not trusted: every offset in them is held against the size of the
// file before it is followed, and no more is read than an image can need.
package kimage

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Format is the kind of a kernel image.
type Format string

// The formats that Kata's hypervisors load.
const (
	BzImage     Format = "x86 bzImage"
	ARM64Image  Format = "arm64 Image"
	ARM64Gzip   Format = "arm64 Image.gz"
	ARM64Zboot  Format = "arm64 EFI zboot image"
	S390BzImage Format = "s390 bzImage"
	ELF         Format = "ELF"
)

// maxImage is the largest image that is read into memory, in bytes: compressed
// kernels and raw images. ELF files with debug information stay on disk.
const maxImage = 512 << 20

// Image is what an image says of itself.
type Image struct {
	Format Format
	// Arch is named as `uname -m` names it: "x86_64", "aarch64".
	Arch string
	// Release is what `uname -r` will print, "" where the image does not say.
	Release string
	// Sections are the parts of the kernel that are mapped at run time, nil for
	// compressed images.
	Sections []Section
}

// Section is a part of a kernel image.
type Section struct {
	// Name is "" where the format has no names.
	Name string
	// Address is the virtual one, 0 where the format has none.
	Address uint64
	Data    []byte
}

// Open reads an image of size bytes. A truncated image, and one of an unknown
// format, are errors that say what is wrong.
func Open(r io.ReaderAt, size int64) (Image, error) {
	head := make([]byte, min(size, headSize))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Image{}, fmt.Errorf("reading the image: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return openELF(r, size)
	case is(head, 0x202, "HdrS"):
		return openBzImage(r, size)
	case is(head, 0x38, "ARM\x64"):
		return openARM64(r, size)
	case bytes.HasPrefix(head, []byte("MZ\x00\x00zimg")):
		return openZboot(r, size)
	case is(head, 0x10008, "S390EP"):
		return openS390(r, size)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return openGzip(r, size)
	case size < headSize:
		return Image{}, fmt.Errorf("%d bytes that begin with %s: no kernel image, or one that was cut short", size, show(head))
	}
	return Image{}, fmt.Errorf("begins with %s: no bzImage, arm64 Image or ELF file", show(head))
}

// headSize is how much of an image Open looks at: the mark of s390 is the one
// that stands last.
const headSize = 0x10010

func is(head []byte, offset int, magic string) bool {
	return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
}

// show prints the first bytes of something that is not known.
func show(head []byte) string {
	if len(head) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("% x", head[:min(len(head), 16)])
}

// truncated is the error of an image that is shorter than it says.
func truncated(size, want int64) error {
	return fmt.Errorf("the image is cut short: it has %d bytes and needs %d", size, want)
}

// whole reads an image into memory.
func whole(r io.ReaderAt, size int64) ([]byte, error) {
	if size > maxImage {
		return nil, fmt.Errorf("the image has %d bytes: more than %d are refused", size, maxImage)
	}
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the image: %w", err)
	}
	return data, nil
}

// openGzip reads the one compressed format that boots as it is: arm64's.
func openGzip(r io.ReaderAt, size int64) (Image, error) {
	stream, err := gzip.NewReader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return Image{}, fmt.Errorf("reading the gzip stream of the image: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(stream, maxImage+1))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Image{}, fmt.Errorf("the image is cut short: its gzip stream ends after %d bytes", len(data))
	}
	if err != nil {
		return Image{}, fmt.Errorf("reading the gzip stream of the image: %w", err)
	}
	if len(data) > maxImage {
		return Image{}, fmt.Errorf("the image unpacks to more than %d bytes: refused", maxImage)
	}
	if !is(data, 0x38, "ARM\x64") {
		return Image{}, fmt.Errorf("a gzip stream of something that begins with %s: no arm64 Image", show(data))
	}
	image, err := openARM64(bytes.NewReader(data), int64(len(data)))
	image.Format = ARM64Gzip
	return image, err
}

// firstWord returns the release at the beginning of a version text: "6.18.15" of
// "6.18.15 (kata@host) #1 SMP".
func firstWord(text []byte) string {
	word, _, _ := strings.Cut(string(text[:min(len(text), 256)]), " ")
	if strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return word
}
