package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxHeads bounds the headers of one member: a name and a link of maxName take
// a sixth of it.
const maxHeads = 64 << 10

// paxRecords are those on which programs agree. To some programs, others are a
// second name, a second length or an attribute.
var paxRecords = []string{"path", "linkpath", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname"}

// vetHeader refuses a header that must not be shipped, or that another program would
// read differently than archive/tar does, so that it extracts something that was not
// checked. Heads are the bytes of the header.
func vetHeader(h *tar.Header, heads []byte) error {
	switch {
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeSymlink:
		return fmt.Errorf("%q has tar type %q: only files, directories and symbolic links are shipped", h.Name, h.Typeflag)
	case sparse(h):
		// The holes of a sparse file cost no bytes: a small tarball could ask
		// for an exabyte to be hashed.
		return fmt.Errorf("%q is a sparse file: pack it as a plain one", h.Name)
	case h.Format == tar.FormatUnknown:
		return fmt.Errorf("%q mixes the formats of tar, or is of none to the letter, so that programs may read it differently: pack it with tar --format=gnu (bsdtar: gnutar)", h.Name)
	case h.Size != 0 && h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%q is not a file and has %d bytes", h.Name, h.Size)
	case h.Mode&0o7000 != 0:
		return fmt.Errorf("%q is setuid, setgid or sticky: clear the bit before packing", h.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if !slices.Contains(paxRecords, key) {
			return fmt.Errorf("%q has the PAX record %q, which some programs pass over: pack it without", h.Name, key)
		}
		if h.PAXRecords[key] == "" {
			return fmt.Errorf("%q has an empty PAX record %q: pack it without", h.Name, key)
		}
	}
	if err := vetHeads(heads); err != nil {
		return fmt.Errorf("%q: %w", h.Name, err)
	}
	return nil
}

func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// vetHeads refuses two extended headers of one type before a member: some
// programs use the first, some the last, some both.
func vetHeads(heads []byte) error {
	var seen []byte
	for len(heads) > blockSize {
		kind := heads[156]
		if bytes.IndexByte(seen, kind) >= 0 {
			return fmt.Errorf("it has two extended headers of type %q", kind)
		}
		seen = append(seen, kind)
		size, err := strconv.ParseInt(string(bytes.Trim(heads[124:136], " \x00")), 8, 32)
		if err != nil || !slices.Contains(extended, kind) {
			return errUnclear
		}
		if size += blockSize + padding(size); size < blockSize || size > int64(len(heads)) {
			return errUnclear
		}
		heads = heads[size:]
	}
	if len(heads) != blockSize {
		return errUnclear
	}
	return nil
}

// extended are the types of headers that say more about the member after them.
var extended = []byte{tar.TypeXHeader, tar.TypeGNULongName, tar.TypeGNULongLink}

var errUnclear = errors.New("it is not clear where its headers end: pack it with tar --format=gnu")
