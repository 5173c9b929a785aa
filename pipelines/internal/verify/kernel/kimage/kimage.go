// Package kimage reads kernel images: their format and architecture, by magic
// numbers; their release; and their contents: the configuration of IKCONFIG, the
// types of BTF and the notes that identify a build.
//
// Images are not trusted: every offset is checked against the size of the file
// before it is followed, and no more is read than an image can need. The package
// decompresses only what arm64 boots compressed, and disassembles nothing.
package kimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The formats that Kata's hypervisors load.
const (
	BzImage     = "x86 bzImage"
	ARM64Image  = "arm64 Image"
	ARM64Gzip   = "arm64 Image.gz"
	S390BzImage = "s390 bzImage"
	ELF         = "ELF"
)

// maxImage is the largest compressed or raw image that is read into memory, in bytes.
// Debug information of ELF files stays on disk.
const maxImage = 512 << 20

// Image is the description of an image.
type Image struct {
	// Format is one of the formats.
	Format string
	// Arch is the architecture by `uname -m`: "x86_64", "aarch64".
	Arch string
	// Release is the release by `uname -r`, "" if the image has none.
	Release string
	// Sections are the parts of the kernel that are mapped at run time, nil for a
	// compressed image.
	Sections []Section
}

// Section is a part of a kernel image.
type Section struct {
	// Name is "" if the format has no names.
	Name string
	// Address is the virtual address, 0 if the format has none.
	Address uint64
	Data    []byte
}

// Open reads an image of size bytes. A truncated image and an unknown format are
// errors.
func Open(r io.ReaderAt, size int64) (Image, error) {
	// The mark of s390 is the one furthest into the file.
	head := make([]byte, min(size, 0x10010))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Image{}, fmt.Errorf("reading the image: %w", err)
	}
	var open func(data []byte) (Image, error)
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return openELF(r, size)
	case is(head, 0x202, "HdrS"):
		open = openBzImage
	case is(head, 0x38, arm64):
		open = openARM64
	case is(head, 0x10008, "S390EP"):
		open = openS390
	case is(head, 0, "\x1f\x8b"):
		open = openGzip
	case int64(len(head)) == size:
		return Image{}, fmt.Errorf("%d bytes that begin with %s: not a kernel image, or cut short", size, show(head))
	default:
		return Image{}, fmt.Errorf("begins with %s: not a bzImage, arm64 Image or ELF file", show(head))
	}
	if size > maxImage {
		return Image{}, fmt.Errorf("the image has %d bytes, more than the limit of %d", size, maxImage)
	}
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return Image{}, fmt.Errorf("reading the image: %w", err)
	}
	return open(data)
}

func is(head []byte, offset int, magic string) bool {
	return len(head) >= offset && bytes.HasPrefix(head[offset:], []byte(magic))
}

func show(head []byte) string {
	if len(head) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("% x", head[:min(len(head), 16)])
}

// firstWord returns the release at the beginning of a version text: "6.18.15" from
// "6.18.15 (kata@host) #1 SMP".
func firstWord(text []byte) string {
	word, _, _ := strings.Cut(string(text[:min(len(text), 256)]), " ")
	if strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return word
}
