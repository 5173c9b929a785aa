package ovmf

import (
	"debug/pe"
	"encoding/binary"
	"fmt"
	"slices"
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
	"x86_64": {pe.IMAGE_FILE_MACHINE_AMD64, []byte{
		0x48, 0x83, 0xec, 0x28, // sub rsp, 40
		0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx+64]: ConOut
		0x48, 0x8d, 0x15, 0x0a, 0, 0, 0, // lea rdx, [rip+10]: the text
		0xff, 0x51, 0x08, // call [rcx+8]
		0x48, 0x83, 0xc4, 0x28, // add rsp, 40
		0x31, 0xc0, // xor eax, eax
		0xc3, // ret
	}},
	"aarch64": {pe.IMAGE_FILE_MACHINE_ARM64, []byte{
		0xfd, 0x7b, 0xbf, 0xa9, // stp x29, x30, [sp, #-16]!
		0x20, 0x20, 0x40, 0xf9, // ldr x0, [x1, #64]: ConOut
		0xc1, 0x00, 0x00, 0x10, // adr x1, #24: the text
		0x02, 0x04, 0x40, 0xf9, // ldr x2, [x0, #8]
		0x40, 0x00, 0x3f, 0xd6, // blr x2
		0xfd, 0x7b, 0xc1, 0xa8, // ldp x29, x30, [sp], #16
		0x00, 0x00, 0x80, 0xd2, // mov x0, #0
		0xc0, 0x03, 0x5f, 0xd6, // ret
	}},
}

const (
	peHeaders = 0x200
	pePage    = 0x1000
)

// appFile is a program for UEFI: headers, and one section of a page.
type appFile struct {
	DOS [0x20]byte
	// QEMU before version 9.1 writes the address of the command line into what it
	// takes for the header of an old kernel. The file has that address already, so
	// that the firmware gets the bytes of the file.
	CommandLine [4]byte
	_           [0x18]byte
	PEOffset    uint32
	PE          [4]byte
	Header      pe.FileHeader
	Optional    pe.OptionalHeader64
	Section     pe.SectionHeader32
	_           [peHeaders - 0x170]byte
	Code        [pePage]byte
}

// app makes a program for UEFI that prints the text on a line of its own and ends.
// Firmware that starts it would also start a kernel.
func app(arch, text string) ([]byte, error) {
	m, known := appMachines[arch]
	if !known {
		return nil, fmt.Errorf("no UEFI program is known for %s", arch)
	}
	file := appFile{
		DOS: [0x20]byte{'M', 'Z'}, CommandLine: [4]byte{0x3f, 0xa3, 0xf0, 0x9f}, PEOffset: 0x40, PE: [4]byte{'P', 'E'},
		Header: pe.FileHeader{
			Machine: m.coff, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
			Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE,
		},
		Optional: pe.OptionalHeader64{
			Magic: 0x20b, SizeOfCode: pePage, AddressOfEntryPoint: pePage, BaseOfCode: pePage,
			SectionAlignment: pePage, FileAlignment: peHeaders, SizeOfImage: 2 * pePage, SizeOfHeaders: peHeaders,
			Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION, NumberOfRvaAndSizes: 16, // all empty
		},
		Section: pe.SectionHeader32{
			Name: [8]byte{'.', 't', 'e', 'x', 't'}, VirtualSize: pePage, VirtualAddress: pePage,
			SizeOfRawData: pePage, PointerToRawData: peHeaders,
			Characteristics: pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_EXECUTE | pe.IMAGE_SCN_MEM_READ,
		},
	}
	code := append(slices.Clone(m.code), wide("\r\n"+text+"\r\n\x00")...)
	if copy(file.Code[:], code) < len(code) {
		return nil, fmt.Errorf("the text has %d characters: too many", len(text))
	}
	return binary.Append(nil, binary.LittleEndian, file)
}
