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

// ErrNone is the error for content that an image does not have.
var ErrNone = errors.New("not in the image")

// banner begins the text of /proc/version.
const banner = "Linux version "

// release returns the release in the text of /proc/version, "" if the image has no
// readable text.
func (i Image) release() string {
	for _, section := range i.Sections {
		for rest := section.Data; ; {
			_, after, found := bytes.Cut(rest, []byte(banner))
			if !found {
				break
			}
			// Format strings have the same words: "Linux version %s".
			if text := firstWord(after); text != "" && text[0] >= '0' && text[0] <= '9' {
				return text
			}
			rest = after
		}
	}
	return ""
}

// HasBanner reports whether the text of /proc/version is at an address, such as that
// of the symbol linux_banner. Known is false for an image without addresses or
// without readable text.
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

// Packs reports whether the image contains the longest section of a decompressor,
// which is the compressed kernel.
func (i Image) Packs(decompressor Image) bool {
	var longest []byte
	for _, section := range decompressor.Sections {
		if len(section.Data) > len(longest) {
			longest = section.Data
		}
	}
	return len(longest) > 0 && i.Contains(longest)
}

// Contains reports whether a section of the kernel has the bytes.
func (i Image) Contains(data []byte) bool {
	return slices.ContainsFunc(i.Sections, func(s Section) bool { return bytes.Contains(s.Data, data) })
}

// Config returns the embedded .config, or ErrNone for a kernel without
// CONFIG_IKCONFIG. A configuration that is too large is truncated.
func (i Image) Config() ([]byte, error) {
	const mark, maxConfig = "IKCFG_ST", 16 << 20
	for _, section := range i.Sections {
		at := bytes.Index(section.Data, []byte(mark+"\x1f\x8b"))
		if at < 0 {
			continue
		}
		// gzip ends by itself; what follows is the mark IKCFG_ED.
		stream, err := gzip.NewReader(bytes.NewReader(section.Data[at+len(mark):]))
		if err != nil {
			return nil, fmt.Errorf("unpacking the embedded configuration: %w", err)
		}
		stream.Multistream(false)
		config, err := io.ReadAll(io.LimitReader(stream, maxConfig))
		if err != nil {
			return nil, fmt.Errorf("unpacking the embedded configuration: %w", err)
		}
		return config, nil
	}
	return nil, ErrNone
}

// BTF returns the raw types of the kernel, or ErrNone. In an image without named
// sections it finds them by their header.
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

// findBTF finds a blob with the header of version 1, plausible lengths and a valid
// string table.
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

// BuildID returns the build ID in ELF notes, such as those of /sys/kernel/notes, in
// hex, or "". Notes are in the byte order of their machine.
func BuildID(notes []byte) string {
	for _, form := range []struct {
		header string
		order  binary.ByteOrder
	}{{"\x03\x00\x00\x00GNU\x00", binary.LittleEndian}, {"\x00\x00\x00\x03GNU\x00", binary.BigEndian}} {
		// Before the content: its length, the type and the owner.
		before, content, found := bytes.Cut(notes, []byte(form.header))
		if !found || len(before) < 4 {
			continue
		}
		if length := form.order.Uint32(before[len(before)-4:]); length > 0 && int64(length) <= int64(len(content)) {
			return hex.EncodeToString(content[:length])
		}
	}
	return ""
}
