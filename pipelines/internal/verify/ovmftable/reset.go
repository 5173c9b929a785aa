package ovmftable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Reset is where the processor goes first.
type Reset struct {
	// Real is the offset in the image of the code for a processor in real mode,
	// Protected of that for one in protected mode, as TDX starts it.
	Real, Protected int
}

// start is what the code of OVMF begins with: it tells the two modes apart.
//
//	mov eax, cr0; test al, 1; jz +5; jmp rel32
var start = []byte{0x0f, 0x20, 0xc0, 0xa8, 0x01, 0x74, 0x05, 0xe9}

// ParseReset reads the code at the reset vector, the last 16 bytes of the image,
// and follows its two jumps, which must lead to code in the image.
func ParseReset(image []byte) (Reset, error) {
	const (
		vector    = 16
		volumeTop = "VTF\x00"
		jump16    = 0xe9
		segment   = 64 << 10
	)
	base := len(image) - vector
	if base < len(volumeTop) {
		return Reset{}, fmt.Errorf("no reset vector in %d bytes", len(image))
	}
	code := image[base:]
	if mark := image[base-len(volumeTop) : base]; string(mark) != volumeTop {
		return Reset{}, fmt.Errorf("%q before the reset vector: want %q", mark, volumeTop)
	}
	rest, ok := bytes.CutPrefix(code, start)
	if !ok || rest[4] != jump16 {
		return Reset{}, fmt.Errorf("the reset vector is %x: that is not the code of OVMF for x86_64", code)
	}
	// A jump counts from the instruction after it.
	after32 := base + len(start) + 4
	protected := after32 + int(int32(binary.LittleEndian.Uint32(rest)))
	// In real mode the instruction pointer has 16 bits, and its segment ends
	// where the image does.
	after16 := uint16(segment - vector + len(start) + 4 + 3)
	real16 := len(image) - segment + int(after16+binary.LittleEndian.Uint16(rest[5:]))
	for _, target := range []int{protected, real16} {
		if err := isCode(image, target); err != nil {
			return Reset{}, fmt.Errorf("following the jumps of the reset vector: %w", err)
		}
	}
	return Reset{Real: real16, Protected: protected}, nil
}

// isCode says whether there may be code at an offset.
func isCode(image []byte, offset int) error {
	const few = 8
	if offset < 0 || offset+few > len(image) {
		return fmt.Errorf("%#x is outside of the image", offset)
	}
	code := image[offset : offset+few]
	if bytes.Count(code, []byte{0x00}) == few || bytes.Count(code, []byte{0xff}) == few {
		return fmt.Errorf("there is no code at %#x", offset)
	}
	return nil
}

// ParseBranch reads the first instruction of firmware for aarch64, a branch over
// the header of its first volume, and returns where it leads.
func ParseBranch(image []byte) (int, error) {
	const opcode, mask = 0x14000000, 0xfc000000
	if len(image) < 4 {
		return 0, errors.New("no instruction in an empty image")
	}
	word := binary.LittleEndian.Uint32(image)
	if word&mask != opcode {
		return 0, fmt.Errorf("the image begins with %#08x: that is no branch of aarch64", word)
	}
	// The distance has a sign and counts instructions of 4 bytes.
	target := int(int32(word<<6)>>6) * 4
	if target == 0 {
		return 0, errors.New("the image begins with a branch to itself")
	}
	return target, isCode(image, target)
}
