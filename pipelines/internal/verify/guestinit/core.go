package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// taskFields returns the CO-RE relocations for 32-bit fields of task_struct. A
// C compiler would leave them in an object file, as two sections: the types
// that the program was compiled with, and which instruction uses what of them.
// This writes that object, with the C type
//
//	struct task_struct { int <field>; ... };
//
// so that the loader relocates the program as it would any other.
func taskFields(names ...string) ([]*btf.CORERelocation, error) {
	text := stringTable{data: []byte{0}}
	// The types come second: their section ends with the strings of both.
	relocations := relocations(&text, len(names))
	types := types(&text, names)
	object := object([]section{{".BTF", types}, {".BTF.ext", relocations}})
	_, infos, err := btf.LoadSpecAndExtInfosFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	_, _, offsets := infos.Section(programSection)
	if len(offsets) != len(names) {
		return nil, fmt.Errorf("%d relocations were read back: want %d", len(offsets), len(names))
	}
	fields := make([]*btf.CORERelocation, len(offsets))
	for i, offset := range offsets {
		fields[i] = offset.Relo
	}
	return fields, nil
}

const (
	programSection = "kprobe"
	btfMagic       = 0xeb9f
	// The identifiers of the two types, in the order of the section.
	intType, taskType = 1, 2
	instructionSize   = 8
	fieldSize         = 4
)

// stringTable holds the strings of both sections.
type stringTable struct{ data []byte }

// add returns the offset of a string.
func (t *stringTable) add(s string) uint32 {
	offset := len(t.data)
	t.data = append(append(t.data, s...), 0)
	return uint32(offset)
}

// types is the section .BTF: see Documentation/bpf/btf.rst of Linux.
func types(text *stringTable, names []string) []byte {
	const kindInt, kindStruct, signed = 1 << 24, 4 << 24, 1 << 24
	words := []uint32{
		text.add("int"), kindInt, fieldSize, signed | 32,
		text.add("task_struct"), kindStruct | uint32(len(names)), uint32(fieldSize * len(names)),
	}
	for i, name := range names {
		words = append(words, text.add(name), intType, uint32(8*fieldSize*i))
	}
	length := uint32(4 * len(words))
	return pack(uint16(btfMagic), uint8(1), uint8(0), uint32(24), uint32(0), length, length, uint32(len(text.data)), words, text.data)
}

// relocations is the section .BTF.ext: no functions and no lines, of which the
// sizes of a record remain, and the relocations. Relocation i is for the field i
// of the first task_struct, "0:i".
func relocations(text *stringTable, fields int) []byte {
	const byteOffset, functionSize, lineSize, recordSize, headerSize = 0, 8, 16, 16, 32
	words := []uint32{recordSize, text.add(programSection), uint32(fields)}
	for i := range fields {
		words = append(words, uint32(i*instructionSize), taskType, text.add(fmt.Sprintf("0:%d", i)), byteOffset)
	}
	parts := []uint32{0, 4, 4, 4, 8, uint32(4 * len(words))} // offset and length of each
	return pack(uint16(btfMagic), uint8(1), uint8(0), uint32(headerSize), parts, uint32(functionSize), uint32(lineSize), words)
}

// section is one of an object file.
type section struct {
	name string
	data []byte
}

// object is an ELF file of the sections.
func object(sections []section) []byte {
	const headerSize, entrySize = 64, 64
	names := stringTable{data: []byte{0}}
	table := []elf.Section64{{}}
	var content []byte
	add := func(name string, kind elf.SectionType, data []byte) {
		table = append(table, elf.Section64{
			Name: names.add(name), Type: uint32(kind), Off: uint64(headerSize + len(content)), Size: uint64(len(data)), Addralign: 1,
		})
		content = append(content, data...)
	}
	for _, s := range sections {
		add(s.name, elf.SHT_PROGBITS, s.data)
	}
	// The reader insists on symbols: there is the one that every table begins
	// with. Its names are in the section after it, which is that of all names.
	add(".symtab", elf.SHT_SYMTAB, make([]byte, elf.Sym64Size))
	symbols := &table[len(table)-1]
	symbols.Link, symbols.Entsize, symbols.Info = uint32(len(table)), elf.Sym64Size, 1
	// The table of names holds its own name, and is written when it is complete.
	own := names.add(".shstrtab")
	add("", elf.SHT_STRTAB, names.data)
	table[len(table)-1].Name = own
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_BPF), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(headerSize + len(content)), Ehsize: headerSize,
		Shentsize: entrySize, Shnum: uint16(len(table)), Shstrndx: uint16(len(table) - 1),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.EV_CURRENT)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	return pack(header, content, table)
}

// pack writes values of fixed size in the byte order of the machine.
func pack(values ...any) []byte {
	var out []byte
	for _, value := range values {
		var err error
		if out, err = binary.Append(out, binary.NativeEndian, value); err != nil {
			panic(err) // a value without a fixed size: a defect of this file
		}
	}
	return out
}
