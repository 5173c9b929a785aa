package kimage

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxConfig bounds a configuration, in bytes; real ones have some 100 to 300 kB.
const maxConfig = 16 << 20

// ErrNone is returned for what an image does not have.
var ErrNone = errors.New("not in the image")

// banner begins the text that `cat /proc/version` prints.
const banner = "Linux version "

// release returns the release of the text of /proc/version, "" where the image
// has no such text that can be read.
func (i Image) release() string {
	for _, section := range i.Sections {
		for rest := section.Data; ; {
			_, after, found := bytes.Cut(rest, []byte(banner))
			if !found {
				break
			}
			// The same words stand in format strings: "Linux version %s".
			if text := firstWord(after); text != "" && text[0] >= '0' && text[0] <= '9' {
				return text
			}
			rest = after
		}
	}
	return ""
}

// HasBanner says whether the text of /proc/version is at an address, as it is
// where the symbol linux_banner points. Known is false for an image without
// addresses, or without text that can be read.
func (i Image) HasBanner(address uint64) (has, known bool) {
	if i.Release == "" {
		return false, false
	}
	for _, section := range i.Sections {
		if section.Address == 0 {
			continue
		}
		known = known || bytes.Contains(section.Data, []byte(banner))
		offset := address - section.Address
		if address >= section.Address && offset < uint64(len(section.Data)) {
			has = has || bytes.HasPrefix(section.Data[offset:], []byte(banner+i.Release+" "))
		}
	}
	return has, known
}

// Packs says whether the image has the longest section of another in it: that of
// a decompressor is the kernel that it unpacks.
func (i Image) Packs(decompressor Image) bool {
	var longest []byte
	for _, section := range decompressor.Sections {
		if len(section.Data) > len(longest) {
			longest = section.Data
		}
	}
	return len(longest) > 0 && slices.ContainsFunc(i.Sections, func(s Section) bool { return bytes.Contains(s.Data, longest) })
}

// Config returns the .config that the kernel carries in itself, ErrNone where it
// was built without CONFIG_IKCONFIG.
func (i Image) Config() ([]byte, error) {
	for _, section := range i.Sections {
		_, rest, found := bytes.Cut(section.Data, []byte("IKCFG_ST\x1f\x8b"))
		if !found {
			continue
		}
		// gzip ends by itself; what follows is the mark IKCFG_ED.
		stream, err := gzip.NewReader(io.MultiReader(bytes.NewReader([]byte("\x1f\x8b")), bytes.NewReader(rest)))
		if err != nil {
			return nil, fmt.Errorf("unpacking the embedded configuration: %w", err)
		}
		stream.Multistream(false)
		config, err := io.ReadAll(io.LimitReader(stream, maxConfig+1))
		if err != nil {
			return nil, fmt.Errorf("unpacking the embedded configuration: %w", err)
		}
		if len(config) > maxConfig {
			return nil, fmt.Errorf("the embedded configuration has more than %d bytes: refused", maxConfig)
		}
		return config, nil
	}
	return nil, ErrNone
}

// BTF returns the raw types of the kernel, ErrNone where it has none. In an
// image without named sections they are found by their header.
func (i Image) BTF() ([]byte, error) {
	for _, section := range i.Sections {
		if section.Name == ".BTF" {
			return section.Data, nil
		}
		if section.Name != "" {
			continue
		}
		if data := findBTF(section.Data); data != nil {
			return data, nil
		}
	}
	return nil, ErrNone
}

// findBTF finds the blob that has the header of version 1, whose lengths fit,
// and whose string table begins as it must.
func findBTF(data []byte) []byte {
	const headerSize = 24
	magic := []byte{0x9f, 0xeb, 1, 0, headerSize, 0, 0, 0}
	le := binary.LittleEndian
	for at := 0; ; at++ {
		k := bytes.Index(data[at:], magic)
		if k < 0 || len(data)-at-k < headerSize {
			return nil
		}
		at += k
		blob := data[at:]
		types, strings, length := int64(le.Uint32(blob[12:])), int64(le.Uint32(blob[16:])), int64(le.Uint32(blob[20:]))
		end := headerSize + strings + length
		if le.Uint32(blob[8:]) == 0 && types > 0 && strings >= types && length > 1 && end <= int64(len(blob)) &&
			blob[headerSize+strings] == 0 && blob[end-1] == 0 {
			return blob[:end]
		}
	}
}

// Contains says whether the kernel has the bytes in one of its parts.
func (i Image) Contains(data []byte) bool {
	for _, section := range i.Sections {
		if bytes.Contains(section.Data, data) {
			return true
		}
	}
	return false
}

// BuildID returns the build ID out of ELF notes, such as /sys/kernel/notes has,
// in hex, "" where there is none. Notes are in the byte order of their machine.
func BuildID(notes []byte) string {
	const header, typeBuildID, owner = 12, 3, "GNU\x00"
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for rest := notes; len(rest) >= header; {
			name, length := uint64(order.Uint32(rest)), uint64(order.Uint32(rest[4:]))
			start := header + (name+3)&^3
			end := start + length
			if end > uint64(len(rest)) {
				break
			}
			if order.Uint32(rest[8:]) == typeBuildID && string(rest[header:header+name]) == owner && length > 0 {
				return hex.EncodeToString(rest[start:end])
			}
			rest = rest[min((end+3)&^3, uint64(len(rest))):]
		}
	}
	return ""
}
