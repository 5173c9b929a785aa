package kimage

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// openELF reads a vmlinux. Sections that are not mapped, which is where debug
// information is, are left on disk.
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
			return Image{}, fmt.Errorf("the sections of the kernel have more than %d bytes: refused", maxImage)
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
