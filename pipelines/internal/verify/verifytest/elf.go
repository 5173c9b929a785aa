package verifytest

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// ELF describes an ELF file without code. The zero value is a program for x86-64 that is
// static, position independent, hardened and stripped.
type ELF struct {
	// Machine is EM_X86_64 and Type ET_DYN if they are 0.
	Machine elf.Machine
	Type    elf.Type
	// Interpreter loads the program. Name is that of a library, and Libraries are those
	// that the file needs.
	Interpreter, Name string
	Libraries         []string
	// Lazy says that functions are looked up when they are called.
	Lazy bool
	// Without are kinds of segments to leave out. Stack and Load are further flags of the
	// stack and of the loaded segment.
	Without     []elf.ProgType
	Stack, Load elf.ProgFlag
	// Sections are the names of further sections, which are empty.
	Sections []string
	// NoSections leaves out the section headers.
	NoSections bool
}

// body is where the contents of sections begin, behind a header and eight segments.
const headerSize, progSize, body = 64, 56, headerSize + 8*progSize

func (e ELF) String() string {
	var content bytes.Buffer
	var sections []elf.Section64
	names := "\x00"
	add := func(name string, kind elf.SectionType, data []byte) elf.Section64 {
		s := elf.Section64{Name: uint32(len(names)), Type: uint32(kind), Off: uint64(body + content.Len()), Size: uint64(len(data)), Link: 1}
		names += name + "\x00"
		content.Write(data)
		sections = append(sections, s)
		return s
	}
	add("", elf.SHT_NULL, nil)
	texts, entries := e.dynamic()
	add(".dynstr", elf.SHT_STRTAB, []byte(texts))
	dynamic := add(".dynamic", elf.SHT_DYNAMIC, encode(entries))
	interpreter := add(".interp", elf.SHT_PROGBITS, []byte(e.Interpreter+"\x00"))
	for _, name := range e.Sections {
		kind := elf.SHT_PROGBITS
		if name == ".symtab" {
			kind = elf.SHT_SYMTAB
		}
		add(name, kind, nil)
	}
	add(".shstrtab", elf.SHT_STRTAB, []byte(names+".shstrtab\x00"))
	progs := e.segments(dynamic, interpreter)
	header := elf.Header64{
		Type: uint16(cmp.Or(e.Type, elf.ET_DYN)), Machine: uint16(cmp.Or(e.Machine, elf.EM_X86_64)), Version: uint32(elf.EV_CURRENT), Entry: 1,
		Phoff: headerSize, Ehsize: headerSize, Phentsize: progSize, Phnum: uint16(len(progs)),
	}
	if !e.NoSections {
		header.Shoff, header.Shentsize = uint64(body+content.Len()), uint16(binary.Size(elf.Section64{}))
		header.Shnum, header.Shstrndx = uint16(len(sections)), uint16(len(sections)-1)
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	head := append(encode(header), encode(progs)...)
	return string(slices.Concat(head, make([]byte, body-len(head)), content.Bytes(), encode(sections)))
}

// dynamic returns the texts and entries of the dynamic section.
func (e ELF) dynamic() (texts string, entries []elf.Dyn64) {
	texts = "\x00"
	text := func(tag elf.DynTag, value string) {
		entries = append(entries, elf.Dyn64{Tag: int64(tag), Val: uint64(len(texts))})
		texts += value + "\x00"
	}
	for _, name := range e.Libraries {
		text(elf.DT_NEEDED, name)
	}
	if e.Name != "" {
		text(elf.DT_SONAME, e.Name)
	}
	if !e.Lazy {
		entries = append(entries, elf.Dyn64{Tag: int64(elf.DT_FLAGS), Val: uint64(elf.DF_BIND_NOW)})
	}
	return texts, append(entries, elf.Dyn64{})
}

// segments returns the segments that are not left out.
func (e ELF) segments(dynamic, interpreter elf.Section64) []elf.Prog64 {
	at := func(kind elf.ProgType, s elf.Section64) elf.Prog64 {
		return elf.Prog64{Type: uint32(kind), Flags: uint32(elf.PF_R), Off: s.Off, Filesz: s.Size, Memsz: s.Size}
	}
	progs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | e.Load)},
		at(elf.PT_DYNAMIC, dynamic), at(elf.PT_INTERP, interpreter),
		{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W | e.Stack)},
		{Type: uint32(elf.PT_GNU_RELRO), Flags: uint32(elf.PF_R)},
	}
	return slices.DeleteFunc(progs, func(p elf.Prog64) bool {
		kind := elf.ProgType(p.Type)
		return kind == elf.PT_INTERP && e.Interpreter == "" || slices.Contains(e.Without, kind)
	})
}

func encode(value any) []byte {
	data, err := binary.Append(nil, binary.LittleEndian, value)
	if err != nil {
		panic(err) // The types have a fixed size.
	}
	return data
}
