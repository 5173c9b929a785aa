package ovmf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// entry is what the code of OVMF begins with: it tells real mode from protected
// mode.
//
//	mov eax, cr0; test al, 1; jz +5; jmp rel32
var entry = []byte{0x0f, 0x20, 0xc0, 0xa8, 0x01, 0x74, 0x05, 0xe9}

// jumps follows the code at the reset vector of firmware for x86_64.
func (i image) jumps() (saw string, err error) {
	realMode, protected, err := parseReset(i.data)
	return fmt.Sprintf("goes to %#x in real mode and to %#x in protected mode", realMode, protected), err
}

// parseReset reads the code at the reset vector, the last 16 bytes of the image,
// and follows its jumps to code in the image: for a processor in real mode, and for
// one in protected mode, as TDX starts it.
func parseReset(image []byte) (realMode, protected int, err error) {
	const (
		vector    = 16
		volumeTop = "VTF\x00"
		jump16    = 0xe9
		segment   = 64 << 10
	)
	base := len(image) - vector
	if base < len(volumeTop) {
		return 0, 0, fmt.Errorf("no reset vector in %d bytes", len(image))
	}
	code := image[base:]
	if mark := image[base-len(volumeTop) : base]; string(mark) != volumeTop {
		return 0, 0, fmt.Errorf("%q before the reset vector: want %q", mark, volumeTop)
	}
	rest, ok := bytes.CutPrefix(code, entry)
	if !ok || rest[4] != jump16 {
		return 0, 0, fmt.Errorf("the reset vector is %x: not the code of OVMF for x86_64", code)
	}
	// A jump counts from the instruction after it.
	after32 := base + len(entry) + 4
	protected = after32 + int(int32(binary.LittleEndian.Uint32(rest)))
	// In real mode the instruction pointer has 16 bits, and its segment ends
	// where the image does.
	after16 := uint16(segment - vector + len(entry) + 4 + 3)
	realMode = len(image) - segment + int(after16+binary.LittleEndian.Uint16(rest[5:]))
	if err := errors.Join(isCode(image, protected), isCode(image, realMode)); err != nil {
		return 0, 0, fmt.Errorf("following the jumps of the reset vector: %w", err)
	}
	return realMode, protected, nil
}

// isCode says whether there may be code at an offset.
func isCode(image []byte, offset int) error {
	const few = 8
	if offset < 0 || offset+few > len(image) {
		return fmt.Errorf("%#x is outside of the image", offset)
	}
	if code := image[offset : offset+few]; leading(code, 0x00) == few || leading(code, 0xff) == few {
		return fmt.Errorf("there is no code at %#x", offset)
	}
	return nil
}

// branches follows the first instructions of firmware for aarch64: over the head, and
// then over the header of the first volume.
func (i image) branches() (saw string, err error) {
	const instruction = 4
	first, err := parseBranch(i.data)
	if err != nil {
		return "", err
	}
	if first != i.head || leading(i.data[instruction:i.head], 0xff) != i.head-instruction {
		return "", fmt.Errorf("its first %d bytes are not just a branch over them, but one to %#x and more", i.head, first)
	}
	second, err := parseBranch(i.data[i.head:])
	if err != nil {
		return "", err
	}
	if second >= len(i.volumes[0].data) {
		return "", fmt.Errorf("the branch at %#x goes to %#x, beyond the first volume", i.head, i.head+second)
	}
	return fmt.Sprintf("a branch to %#x, and from there to %#x", first, i.head+second), nil
}

// parseBranch reads the first instruction of firmware for aarch64, a branch over
// the header of its first volume, and returns where it leads.
func parseBranch(image []byte) (int, error) {
	const opcode, mask = 0x14000000, 0xfc000000
	if len(image) < 4 {
		return 0, errors.New("no instruction in an empty image")
	}
	word := binary.LittleEndian.Uint32(image)
	if word&mask != opcode {
		return 0, fmt.Errorf("the image begins with %#08x: not a branch of aarch64", word)
	}
	// The distance has a sign and counts instructions of 4 bytes.
	target := int(int32(word<<6)>>6) * 4
	if target == 0 {
		return 0, errors.New("the image begins with a branch to itself")
	}
	return target, isCode(image, target)
}
