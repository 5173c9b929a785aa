package kimage

import (
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// openBzImage reads an image of the x86 boot protocol: Documentation/arch/x86/boot.rst
// of Linux has the offsets.
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
	// The size counts up to the end of the data that the decompressor needs; an
	// image with an EFI stub goes on to the end of its last section.
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

// openARM64 reads an image as Documentation/arch/arm64/booting.rst of Linux has
// it. Its image_size counts memory and not the file, so that only an EFI stub
// tells where the file must end.
func openARM64(r io.ReaderAt, size int64) (Image, error) {
	data, err := whole(r, size)
	if err != nil {
		return Image{}, err
	}
	if end := peEnd(r, size); end > size {
		return Image{}, truncated(size, end)
	}
	if memory := binary.LittleEndian.Uint64(data[16:]); memory != 0 && uint64(size) > memory {
		return Image{}, fmt.Errorf("the image has %d bytes, and its header says that it needs no more than %d in memory", size, memory)
	}
	image := Image{Format: ARM64Image, Arch: "aarch64", Sections: []Section{{Data: data}}}
	if image.Release = image.release(); image.Release == "" {
		return Image{}, errors.New("the image has no text \"Linux version\": it was cut short, or is no Linux")
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
		return Image{}, fmt.Errorf("an EFI zboot image for machine %#x: only those for arm64 are known", file.Machine)
	}
	return Image{Format: ARM64Zboot, Arch: "aarch64"}, nil
}

// openS390 reads the parameter area of arch/s390/include/asm/setup.h. An image
// ends with a mark that the boot loader looks for.
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

// peEnd is where the last section of an EFI stub ends in the file, 0 where
// there is none.
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
