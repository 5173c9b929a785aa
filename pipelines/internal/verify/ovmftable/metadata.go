package ovmftable

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// SEVSection is a piece of memory that SEV-SNP prepares before a guest starts.
type SEVSection struct {
	Area Area
	Type SEVType
}

// SEVType says what a piece of memory is prepared as.
type SEVType uint32

// The types of SEV sections.
const (
	SEVMemory  SEVType = 0x1
	SEVSecrets SEVType = 0x2
	SEVCPUID   SEVType = 0x3
	SEVSVSM    SEVType = 0x4
	SEVHashes  SEVType = 0x10
)

// sevNames are what the types are called.
var sevNames = map[SEVType]string{
	SEVMemory: "memory", SEVSecrets: "secrets", SEVCPUID: "cpuid", SEVSVSM: "svsm", SEVHashes: "kernel hashes",
}

// String returns a word for the type.
func (t SEVType) String() string { return named(sevNames[t], uint32(t)) }

// SEV returns the sections of the SEV metadata, whose areas must be in the first
// 4 GiB and must not overlap.
func (t *Table) SEV() ([]SEVSection, error) {
	const entry = 12
	data, err := t.descriptor(SEVBlock, "ASEV", entry)
	if err != nil {
		return nil, err
	}
	var sections []SEVSection
	var areas []Area
	for ; len(data) > 0; data = data[entry:] {
		area := Area{uint64(binary.LittleEndian.Uint32(data)), uint64(binary.LittleEndian.Uint32(data[4:]))}
		sections = append(sections, SEVSection{area, SEVType(binary.LittleEndian.Uint32(data[8:]))})
		areas = append(areas, area)
	}
	if err := apart(areas); err != nil {
		return nil, fmt.Errorf("the SEV metadata: %w", err)
	}
	return sections, nil
}

// TDXSection is a piece of memory that a TD begins with.
type TDXSection struct {
	// Offset and Length are that of its content in the image, 0 where it has
	// none.
	Offset, Length int
	Area           Area
	Type           TDXType
	// Measured says that its content is part of the measurement of the TD.
	Measured bool
}

// TDXType says what a piece of memory is.
type TDXType uint32

// The types of TDX sections: firmware, its variables, the list of memory that
// the monitor hands over, and memory for the first code.
const (
	TDXFirmware  TDXType = 0
	TDXVariables TDXType = 1
	TDXHandOff   TDXType = 2
	TDXMemory    TDXType = 3
)

var tdxNames = map[TDXType]string{
	TDXFirmware: "firmware", TDXVariables: "variables", TDXHandOff: "hand-off", TDXMemory: "memory",
}

// String returns a word for the type.
func (t TDXType) String() string { return named(tdxNames[t], uint32(t)) }

// TDX returns the sections of the TDX metadata, whose content must be in the
// image, and whose areas must not overlap.
func (t *Table) TDX() ([]TDXSection, error) {
	const entry, measured = 32, 1
	data, err := t.descriptor(TDXBlock, "TDVF", entry)
	if err != nil {
		return nil, err
	}
	var sections []TDXSection
	var areas []Area
	for ; len(data) > 0; data = data[entry:] {
		offset, length := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		s := TDXSection{
			Offset: int(offset), Length: int(length),
			Area:     Area{binary.LittleEndian.Uint64(data[8:]), binary.LittleEndian.Uint64(data[16:])},
			Type:     TDXType(binary.LittleEndian.Uint32(data[24:])),
			Measured: binary.LittleEndian.Uint32(data[28:])&measured != 0,
		}
		if uint64(offset)+uint64(length) > uint64(len(t.image)) || uint64(length) > s.Area.Size {
			return nil, fmt.Errorf("the TDX section %d has its content at %#x-%#x, for %#x bytes of memory: the image has %#x", len(sections)+1, offset, uint64(offset)+uint64(length), s.Area.Size, len(t.image))
		}
		sections = append(sections, s)
		areas = append(areas, s.Area)
	}
	if err := apart(areas); err != nil {
		return nil, fmt.Errorf("the TDX metadata: %w", err)
	}
	return sections, nil
}

// apart makes sure that no two areas overlap and none is beyond 4 GiB, where
// the firmware itself ends.
func apart(areas []Area) error {
	const top = 4 << 30
	sorted := slices.SortedFunc(slices.Values(areas), func(a, b Area) int {
		switch {
		case a.Base < b.Base:
			return -1
		case a.Base > b.Base:
			return 1
		}
		return 0
	})
	for i, a := range sorted {
		if a.Base > top || a.Size > top-a.Base {
			return fmt.Errorf("%s is not within 4 GiB", a)
		}
		if i > 0 && sorted[i-1].Base+sorted[i-1].Size > a.Base {
			return fmt.Errorf("%s and %s overlap", sorted[i-1], a)
		}
	}
	return nil
}

func named(name string, number uint32) string {
	if name == "" {
		return fmt.Sprintf("type %#x", number)
	}
	return name
}
