// Package kimagetest makes small kernel images for tests, with only the parts
// that are read of real ones.
package kimagetest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// BzImage is an x86 image of the boot protocol 2.15 with a 64-bit entry.
func BzImage(release string) []byte {
	const sectors, paragraphs = 3, 512
	data := make([]byte, (sectors+1)*512+paragraphs*16)
	le := binary.LittleEndian
	data[0x1f1] = sectors
	le.PutUint32(data[0x1f4:], paragraphs)
	copy(data[0x202:], "HdrS")
	le.PutUint16(data[0x206:], 0x20f)
	le.PutUint16(data[0x20e:], 0x300)
	le.PutUint16(data[0x236:], 1)
	copy(data[0x500:], release+" (kata@kata-containers) #1 SMP\x00")
	return data
}

// ARM64 is a raw image with some content.
func ARM64(content string) []byte {
	data := make([]byte, 256, 256+len(content))
	copy(data[0x38:], "ARM\x64")
	data = append(data, content...)
	binary.LittleEndian.PutUint64(data[16:], uint64(len(data)+4096))
	return data
}

// Section is a section of a vmlinux.
type Section struct {
	Name    string
	Address uint64
	Data    []byte
	// Unmapped says that it is not mapped at run time, as debug information is.
	Unmapped bool
}

// machines are the ELF machines by the name that `uname -m` prints.
var machines = map[string]elf.Machine{
	"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "s390x": elf.EM_S390, "ppc64le": elf.EM_PPC64,
}

// ELF is a vmlinux of the sections.
func ELF(arch string, sections ...Section) []byte {
	const headerSize = 64
	var order binary.ByteOrder = binary.LittleEndian
	encoding := elf.ELFDATA2LSB
	if arch == "s390x" {
		order, encoding = binary.BigEndian, elf.ELFDATA2MSB
	}
	names := []byte{0}
	sections = append(slices.Clone(sections), Section{Name: ".shstrtab", Unmapped: true})
	for _, s := range sections {
		names = append(names, s.Name+"\x00"...)
	}
	sections[len(sections)-1].Data = names
	var content []byte
	table, name := []elf.Section64{{}}, 1
	for _, s := range sections {
		h := elf.Section64{
			Name: uint32(name), Type: uint32(elf.SHT_PROGBITS),
			Off: uint64(headerSize + len(content)), Size: uint64(len(s.Data)),
		}
		if !s.Unmapped {
			h.Flags, h.Addr = uint64(elf.SHF_ALLOC), s.Address
		}
		table, content, name = append(table, h), append(content, s.Data...), name+len(s.Name)+1
	}
	table[len(table)-1].Type = uint32(elf.SHT_STRTAB)
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(encoding), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machines[arch]), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(headerSize + len(content)), Ehsize: headerSize,
		Shentsize: 64, Shnum: uint16(len(table)), Shstrndx: uint16(len(table) - 1),
	}
	var out bytes.Buffer
	for _, part := range []any{header, content, table} {
		if err := binary.Write(&out, order, part); err != nil {
			panic(err) // a part without a fixed size
		}
	}
	return out.Bytes()
}

// BTF returns the types of a kernel that has only one structure:
//
//	struct task_struct { int pid; };
func BTF() []byte {
	const text = "\x00int\x00task_struct\x00pid\x00"
	words := []uint32{
		1, 1 << 24, 4, 1<<24 | 32,
		5, 4<<24 | 1, 4, 17, 1, 0,
	}
	length := uint32(4 * len(words))
	out := []byte{0x9f, 0xeb, 1, 0}
	for _, word := range append([]uint32{24, 0, length, length, uint32(len(text))}, words...) {
		out = binary.LittleEndian.AppendUint32(out, word)
	}
	return append(out, text...)
}
