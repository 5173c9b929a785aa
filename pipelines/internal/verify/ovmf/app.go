package ovmf

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// appMachine is what a UEFI program is made of for an architecture.
type appMachine struct {
	// coff is its number in the header.
	coff uint16
	// code calls OutputString of the system table's console with the text that
	// follows it, and returns no error.
	code []byte
}

var appMachines = map[string]appMachine{
	"x86_64": {0x8664, []byte{
		0x48, 0x83, 0xec, 0x28, // sub rsp, 40
		0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx+64]: ConOut
		0x48, 0x8d, 0x15, 0x0a, 0, 0, 0, // lea rdx, [rip+10]: the text
		0xff, 0x51, 0x08, // call [rcx+8]
		0x48, 0x83, 0xc4, 0x28, // add rsp, 40
		0x31, 0xc0, // xor eax, eax
		0xc3, // ret
	}},
	"aarch64": {0xaa64, words(
		0xa9bf7bfd, // stp x29, x30, [sp, #-16]!
		0xf9402020, // ldr x0, [x1, #64]: ConOut
		0x100000c1, // adr x1, #24: the text
		0xf9400402, // ldr x2, [x0, #8]
		0xd63f0040, // blr x2
		0xa8c17bfd, // ldp x29, x30, [sp], #16
		0xd2800000, // mov x0, #0
		0xd65f03c0, // ret
	)},
}

// QEMU before version 9.1 writes the address of the command line into what it takes
// for the header of an old kernel. The file has that address already, so that the
// firmware gets the bytes of the file.
const (
	commandLineAt = 0x20
	commandLine   = "\x3f\xa3\xf0\x9f"
)

func words(instructions ...uint32) []byte {
	var code []byte
	for _, i := range instructions {
		code = binary.LittleEndian.AppendUint32(code, i)
	}
	return code
}

// Layout of the file: the headers, and one section.
const (
	peHeaders  = 0x200
	pePage     = 0x1000
	peAt       = 0x40
	coffSize   = 24
	peOptional = 240
	sectionAt  = peAt + coffSize + peOptional
	fileSize   = peHeaders + pePage
	codeFlags  = 0x60000020
	appFlags   = 0x22
	efiProgram = 10
)

// app makes a program for UEFI that prints the text on a line of its own and ends.
// A firmware that starts it would start a kernel.
func app(arch, text string) ([]byte, error) {
	m, known := appMachines[arch]
	if !known {
		return nil, fmt.Errorf("no UEFI program is known for %s", arch)
	}
	section := append([]byte{}, m.code...)
	for _, c := range utf16.Encode([]rune("\r\n" + text + "\r\n\x00")) {
		section = binary.LittleEndian.AppendUint16(section, c)
	}
	if len(section) > pePage {
		return nil, fmt.Errorf("the text has %d characters: too many", len(text))
	}
	file := make([]byte, fileSize)
	copy(file, "MZ")
	copy(file[commandLineAt:], commandLine)
	binary.LittleEndian.PutUint32(file[0x3c:], peAt)
	peHeader(file[peAt:], m.coff)
	copy(file[peHeaders:], section)
	return file, nil
}

// peHeader writes the headers of a PE32+ file with one section of a page.
func peHeader(pe []byte, coff uint16) {
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	copy(pe, "PE\x00\x00")
	put16(pe[4:], coff)
	put16(pe[6:], 1)
	put16(pe[20:], peOptional)
	put16(pe[22:], appFlags)
	o := pe[coffSize:]
	put16(o, 0x20b)
	put32(o[4:], pePage)     // size of code
	put32(o[16:], pePage)    // entry
	put32(o[20:], pePage)    // base of code
	put32(o[32:], pePage)    // alignment of sections
	put32(o[36:], peHeaders) // and in the file
	put32(o[56:], 2*pePage)  // size in memory
	put32(o[60:], peHeaders)
	put16(o[68:], efiProgram)
	put32(o[108:], 16) // directories, all empty
	s := pe[sectionAt-peAt:]
	copy(s, ".text")
	put32(s[8:], pePage)
	put32(s[12:], pePage)
	put32(s[16:], pePage)
	put32(s[20:], peHeaders)
	put32(s[36:], codeFlags)
}
