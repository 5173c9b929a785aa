package fv

import (
	"encoding/binary"
	"fmt"
)

// Variables is the file system of a volume that keeps the variables of UEFI.
var Variables = GUID{0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50}

// authenticated is the GUID of a store whose variables carry what signs them.
var authenticated = GUID{0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92}

// VariableStore checks the store in a volume of variables: that it is formatted,
// healthy, and empty, as a new machine's is. It returns its size in bytes.
func (v Volume) VariableStore(image []byte) (int, error) {
	const (
		header           = 28
		sizeAt, formatAt = 16, 20
		formatted        = 0x5a
		healthy          = 0xfe
	)
	if v.FileSystem != Variables {
		return 0, fmt.Errorf("the volume at %#x keeps no variables: its GUID is %s", v.Offset, v.FileSystem)
	}
	store := v.Content(image)
	if len(store) < header {
		return 0, fmt.Errorf("the volume at %#x has no room for a store of variables", v.Offset)
	}
	size := binary.LittleEndian.Uint32(store[sizeAt:])
	switch guid := GUID(store[:len(GUID{})]); {
	case guid != authenticated:
		return 0, fmt.Errorf("the store at %#x has the GUID %s: want %s, of authenticated variables", v.Offset+v.Header, guid, authenticated)
	case size < header || uint64(size) > uint64(len(store)):
		return 0, fmt.Errorf("the store at %#x has %d bytes in a volume with room for %d", v.Offset+v.Header, size, len(store))
	case store[formatAt] != formatted || store[formatAt+1] != healthy:
		return 0, fmt.Errorf("the store at %#x has format %#02x and state %#02x: want %#02x and %#02x", v.Offset+v.Header, store[formatAt], store[formatAt+1], formatted, healthy)
	}
	if used := leading(store[header:size], 0xff); used < int(size)-header {
		return 0, fmt.Errorf("there is a variable at %#x: want an empty store", v.Offset+v.Header+header+used)
	}
	return int(size), nil
}
