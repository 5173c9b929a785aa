package kimage

import (
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// openBzImage reads an image of the x86 boot protocol; the offsets are those of
// Documentation/arch/x86/boot.rst in Linux.
func openBzImage(r io.ReaderAt, size int64) (Image, error) {
	const headerEnd = 0x268
	if size < headerEnd {
		return Image{}, truncated(size, headerEnd)
	}
	data, err := whole(r, size)
	if err != nil {
		return Image{}, err
	}
	le := binary.LittleEndian
	sectors := int64(data[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	// The size covers the data that the decompressor needs; an image with an EFI stub
	// ends with its last section.
	needs := (sectors+1)*512 + int64(le.Uint32(data[0x1f4:]))*16
	if end := peEnd(r, size); end > needs {
		needs = end
	}
	if size < needs {
		return Image{}, truncated(size, needs)
	}
	image := Image{Format: BzImage, Arch: "i386"}
	if protocol := le.Uint16(data[0x206:]); protocol >= 0x20c && le.Uint16(data[0x236:])&1 != 0 {
		image.Arch = "x86_64"
	}
	if offset := int64(le.Uint16(data[0x20e:])); offset != 0 && offset+0x200 < size {
		image.Release = firstWord(data[offset+0x200:])
	}
	return image, nil
}

// openARM64 reads an image of Documentation/arch/arm64/booting.rst in Linux. Its
// image_size is that in memory, so only an EFI stub tells where the file must end.
func openARM64(r io.ReaderAt, size int64) (Image, error) {
	data, err := whole(r, size)
	if err != nil {
		return Image{}, err
	}
	if end := peEnd(r, size); end > size {
		return Image{}, truncated(size, end)
	}
	if memory := binary.LittleEndian.Uint64(data[16:]); memory != 0 && uint64(size) > memory {
		return Image{}, fmt.Errorf("the image has %d bytes, but its header says that it needs only %d in memory", size, memory)
	}
	image := Image{Format: ARM64Image, Arch: "aarch64", Sections: []Section{{Data: data}}}
	if image.Release = image.release(); image.Release == "" {
		return Image{}, errors.New("the image has no text \"Linux version\": it was cut short, or is not Linux")
	}
	return image, nil
}

// openZboot reads the header of drivers/firmware/efi/libstub/zboot-header.S.
func openZboot(r io.ReaderAt, size int64) (Image, error) {
	const headerEnd = 64
	if size < headerEnd {
		return Image{}, truncated(size, headerEnd)
	}
	head := make([]byte, headerEnd)
	if _, err := r.ReadAt(head, 0); err != nil {
		return Image{}, fmt.Errorf("reading the image: %w", err)
	}
	end := int64(binary.LittleEndian.Uint32(head[8:])) + int64(binary.LittleEndian.Uint32(head[12:]))
	if end := max(end, peEnd(r, size)); end > size {
		return Image{}, truncated(size, end)
	}
	file, err := pe.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return Image{}, fmt.Errorf("reading the EFI zboot image: %w", err)
	}
	if file.Machine != pe.IMAGE_FILE_MACHINE_ARM64 {
		return Image{}, fmt.Errorf("an EFI zboot image for machine %#x: only arm64 is supported", file.Machine)
	}
	return Image{Format: ARM64Zboot, Arch: "aarch64"}, nil
}

// openS390 reads the parameter area of arch/s390/include/asm/setup.h. An image ends
// with a mark for the boot loader.
func openS390(r io.ReaderAt, size int64) (Image, error) {
	const versionAt, parametersEnd = 0x10428, 0x10480
	if size < parametersEnd {
		return Image{}, truncated(size, parametersEnd)
	}
	data, err := whole(r, size)
	if err != nil {
		return Image{}, err
	}
	if string(data[size-4:]) != "zIPL" {
		return Image{}, errors.New("the image is cut short: it does not end with the mark of an s390 kernel, zIPL")
	}
	image := Image{Format: S390BzImage, Arch: "s390x", Sections: []Section{{Data: data}}}
	if offset := binary.BigEndian.Uint64(data[versionAt:]); offset != 0 && offset < uint64(size) {
		image.Release = firstWord(data[offset:])
	}
	return image, nil
}

// peEnd is where the last section of an EFI stub ends in the file, 0 without a stub.
func peEnd(r io.ReaderAt, size int64) int64 {
	file, err := pe.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return 0
	}
	var end int64
	for _, section := range file.Sections {
		if section.Size > 0 {
			end = max(end, int64(section.Offset)+int64(section.Size))
		}
	}
	return end
}

// openELF reads a vmlinux, except for sections that are not mapped, such as debug
// information.
func openELF(r io.ReaderAt, size int64) (Image, error) {
	if end, ok := elfHeadersEnd(r, size); ok && end > size {
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
	for _, program := range file.Progs {
		if end := program.Off + program.Filesz; end < program.Off || end > uint64(size) {
			return Image{}, truncated(size, int64(min(end, 1<<62)))
		}
	}
	image.Release = image.release()
	return image, nil
}

// elfHeadersEnd is where the table of sections ends, the last thing in a
// vmlinux: package elf would call a file without it malformed.
func elfHeadersEnd(r io.ReaderAt, size int64) (int64, bool) {
	head := make([]byte, 64)
	if size < int64(len(head)) {
		return int64(len(head)), true
	}
	if _, err := r.ReadAt(head, 0); err != nil || head[elf.EI_CLASS] != byte(elf.ELFCLASS64) {
		return 0, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	table, entry, count := order.Uint64(head[0x28:]), order.Uint16(head[0x3a:]), order.Uint16(head[0x3c:])
	if table > 1<<62 {
		return 1 << 62, true
	}
	return int64(table) + int64(entry)*int64(count), true
}
