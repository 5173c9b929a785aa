package kimage

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// truncated is the error of an image that is shorter than its header says.
func truncated(size, want int64) error {
	return fmt.Errorf("the image is cut short: it has %d bytes and needs %d", size, want)
}

// needs returns an error for data that is shorter than it must be, or whose EFI stub
// has a section beyond its end.
func needs(data []byte, want int64) error {
	// Package pe also accepts files without MZ, such as object files.
	if file, err := pe.NewFile(bytes.NewReader(data)); err == nil && is(data, 0, "MZ") {
		for _, section := range file.Sections {
			if section.Size > 0 {
				want = max(want, int64(section.Offset)+int64(section.Size))
			}
		}
	}
	if int64(len(data)) < want {
		return truncated(int64(len(data)), want)
	}
	return nil
}

// openBzImage reads an image of the x86 boot protocol; the offsets are those of
// Documentation/arch/x86/boot.rst in Linux.
func openBzImage(data []byte) (Image, error) {
	const headerEnd = 0x268
	if err := needs(data, headerEnd); err != nil {
		return Image{}, err
	}
	le := binary.LittleEndian
	sectors := cmp.Or(int64(data[0x1f1]), 4)
	// The size covers the data that the decompressor needs; an image with an EFI stub
	// ends with its last section.
	if err := needs(data, (sectors+1)*512+int64(le.Uint32(data[0x1f4:]))*16); err != nil {
		return Image{}, err
	}
	image := Image{Format: BzImage, Arch: "i386"}
	if protocol := le.Uint16(data[0x206:]); protocol >= 0x20c && le.Uint16(data[0x236:])&1 != 0 {
		image.Arch = "x86_64"
	}
	if offset := int(le.Uint16(data[0x20e:])); offset != 0 && offset+0x200 < len(data) {
		image.Release = firstWord(data[offset+0x200:])
	}
	return image, nil
}

// arm64 is the mark of an arm64 Image.
const arm64 = "ARM\x64"

// openARM64 reads an image of Documentation/arch/arm64/booting.rst in Linux. Its
// image_size is that in memory, so only an EFI stub tells where the file must end.
func openARM64(data []byte) (Image, error) {
	if err := needs(data, 0); err != nil {
		return Image{}, err
	}
	if memory := binary.LittleEndian.Uint64(data[16:]); memory != 0 && uint64(len(data)) > memory {
		return Image{}, fmt.Errorf("the image has %d bytes, but its header says that it needs only %d in memory",
			len(data), memory)
	}
	image := Image{Format: ARM64Image, Arch: "aarch64", Sections: []Section{{Data: data}}}
	if image.Release = image.release(); image.Release == "" {
		return Image{}, errors.New("the image has no text \"Linux version\": it was cut short, or is not Linux")
	}
	return image, nil
}

func openGzip(packed []byte) (Image, error) {
	var data []byte
	stream, err := gzip.NewReader(bytes.NewReader(packed))
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(stream, maxImage+1))
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Image{}, fmt.Errorf("the image is cut short: its gzip stream ends after %d bytes", len(data))
	case err != nil:
		return Image{}, fmt.Errorf("reading the gzip stream of the image: %w", err)
	case len(data) > maxImage:
		return Image{}, fmt.Errorf("the unpacked image is larger than the limit of %d bytes", maxImage)
	case !is(data, 0x38, arm64):
		return Image{}, fmt.Errorf("a gzip stream whose content begins with %s: not an arm64 Image", show(data))
	}
	image, err := openARM64(data)
	image.Format = ARM64Gzip
	return image, err
}

// openS390 reads the parameter area of arch/s390/include/asm/setup.h. An image ends
// with a mark for the boot loader.
func openS390(data []byte) (Image, error) {
	const versionAt, parametersEnd = 0x10428, 0x10480
	if err := needs(data, parametersEnd); err != nil {
		return Image{}, err
	}
	if !bytes.HasSuffix(data, []byte("zIPL")) {
		return Image{}, errors.New("the image is cut short: it does not end with the mark of an s390 kernel, zIPL")
	}
	image := Image{Format: S390BzImage, Arch: "s390x", Sections: []Section{{Data: data}}}
	if offset := binary.BigEndian.Uint64(data[versionAt:]); offset != 0 && offset < uint64(len(data)) {
		image.Release = firstWord(data[offset:])
	}
	return image, nil
}

// openELF reads a vmlinux, except for sections that are not mapped, such as debug
// information.
func openELF(r io.ReaderAt, size int64) (Image, error) {
	if end := elfEnd(r); end > size {
		return Image{}, truncated(size, end)
	}
	file, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return Image{}, fmt.Errorf("reading the ELF file: %w", err)
	}
	image := Image{Format: ELF, Arch: tarball.Arch(file)}
	if file.Class != elf.ELFCLASS64 {
		return Image{}, fmt.Errorf("a 32-bit ELF file for %s: Kata's kernels have 64 bits", file.Machine)
	}
	for _, program := range file.Progs {
		if end := program.Off + program.Filesz; end < program.Off || end > uint64(size) {
			return Image{}, truncated(size, int64(min(end, 1<<62)))
		}
	}
	var total uint64
	for _, section := range file.Sections {
		if section.Type == elf.SHT_NOBITS || section.Type == elf.SHT_NULL {
			continue
		}
		if end := section.Offset + section.FileSize; end < section.Offset || end > uint64(size) {
			return Image{}, truncated(size, int64(min(end, 1<<62)))
		}
		if section.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if total += section.FileSize; total > maxImage {
			return Image{}, fmt.Errorf("the sections of the kernel are larger than the limit of %d bytes", maxImage)
		}
		data := make([]byte, section.FileSize)
		if _, err := r.ReadAt(data, int64(section.Offset)); err != nil {
			return Image{}, fmt.Errorf("reading section %s of the ELF file: %w", section.Name, err)
		}
		image.Sections = append(image.Sections, Section{section.Name, section.Addr, data})
	}
	image.Release = image.release()
	return image, nil
}

// elfEnd returns the end of the table of sections, which comes last in a vmlinux.
// Package elf would call a truncated file malformed.
func elfEnd(r io.ReaderAt) int64 {
	var header elf.Header64
	head := make([]byte, binary.Size(header))
	if _, err := r.ReadAt(head, 0); err != nil {
		return int64(len(head))
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	if _, err := binary.Decode(head, order, &header); err != nil || head[elf.EI_CLASS] != byte(elf.ELFCLASS64) {
		return 0
	}
	return int64(min(header.Shoff, 1<<62)) + int64(header.Shentsize)*int64(header.Shnum)
}
