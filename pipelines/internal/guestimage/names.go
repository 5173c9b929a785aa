package guestimage

import (
	"encoding/binary"
	"io"
)

// LinkName is the name of the link to the image of a variant, which the configuration of
// Kata's runtime names; "" is the main image.
func LinkName(variant string) string { return "kata-containers" + dashed(variant) + ".img" }

// RootHashName is the name of the file with Verity.String of a variant.
func RootHashName(variant string) string { return "root_hash_" + variant + ".txt" }

func dashed(variant string) string {
	if variant == "" {
		return ""
	}
	return "-" + variant
}

// Filesystem returns the kind of a filesystem by its superblock, "" for one that this
// package does not know.
func Filesystem(from io.ReaderAt) string {
	const superblock, ext4Magic, ext4At, erofsMagic = kib, 0xef53, 56, 0xe0f5e1e2
	head := make([]byte, ext4At+2)
	if _, err := from.ReadAt(head, superblock); err != nil {
		return ""
	}
	switch {
	case binary.LittleEndian.Uint32(head) == erofsMagic:
		return Erofs
	case binary.LittleEndian.Uint16(head[ext4At:]) == ext4Magic:
		return Ext4
	}
	return ""
}
