package fv

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID names what firmware is made of. Its first three groups are stored with
// the lowest byte first.
type GUID [16]byte

// String returns the form "8c8ce578-8a3d-4f1c-9935-896185c32dd3".
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(g[0:]), binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// ParseGUID reads the form that String returns, in either case.
func ParseGUID(text string) (GUID, error) {
	groups := strings.Split(text, "-")
	lengths := [5]int{8, 4, 4, 4, 12}
	if len(groups) != len(lengths) {
		return GUID{}, fmt.Errorf("%q has %d groups: a GUID has 5", text, len(groups))
	}
	for i, length := range lengths {
		if len(groups[i]) != length {
			return GUID{}, fmt.Errorf("group %d of %q has %d digits: want %d", i+1, text, len(groups[i]), length)
		}
	}
	raw, err := hex.DecodeString(strings.Join(groups, ""))
	if err != nil {
		return GUID{}, fmt.Errorf("reading the GUID %q: %w", text, err)
	}
	var g GUID
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(raw[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(raw[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(raw[6:]))
	copy(g[8:], raw[8:])
	return g, nil
}
