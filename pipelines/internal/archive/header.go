package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// header leaves the format open: archive/tar then uses USTAR, and PAX only for what
// does not fit into USTAR.
func header(m Member, modTime time.Time) *tar.Header {
	h := &tar.Header{Name: m.Name, Mode: int64(m.Mode.Perm()), ModTime: modTime, Typeflag: tar.TypeReg, Size: m.Size}
	switch {
	case m.Mode.IsDir():
		h.Typeflag = tar.TypeDir
	case m.Mode.Type() == fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.Link
	}
	return h
}

// memberOf is the reverse of header. It keeps all permission bits.
func memberOf(h *tar.Header) Member {
	m := Member{Name: memberName(h.Name), Mode: fs.FileMode(h.Mode) & fs.ModePerm}
	switch h.Typeflag {
	case tar.TypeDir:
		m.Mode |= fs.ModeDir
		m.Name = strings.TrimSuffix(m.Name, "/") + "/"
	case tar.TypeSymlink:
		m.Mode |= fs.ModeSymlink
		m.Link = h.Linkname
	default:
		m.Size = h.Size
	}
	return m
}

// headerBytes returns the blocks before the content of a member. The writer writes
// exactly these, so that a reader can compare them.
func headerBytes(m Member, modTime time.Time) ([]byte, error) {
	var buffer bytes.Buffer
	err := tar.NewWriter(&buffer).WriteHeader(header(m, modTime))
	return buffer.Bytes(), err
}

// padding returns how many zeros fill up the last block of a content.
func padding(size int64) int64 { return (blockSize - size%blockSize) % blockSize }

// tarSize returns how much of the tar stream a member takes. A member whose header
// cannot be written takes none, and readIndex refuses it.
func tarSize(m Member, modTime time.Time) int64 {
	head, err := headerBytes(m, modTime)
	if err != nil {
		return 0
	}
	return int64(len(head)) + m.Size + padding(m.Size)
}

// maxHeads bounds the headers of one member: a name and a link of maxName take
// a sixth of it.
const maxHeads = 64 << 10

// paxRecords are the ones on which programs agree. Some programs take others for a
// second name, a second length, an attribute or the holes of a sparse file, which take
// no bytes: a small tarball could make them hash an exabyte.
var paxRecords = []string{"path", "linkpath", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname"}

// vetHeader refuses a header that must not be shipped, or that another program would
// read differently from archive/tar, and so extract something that was not checked.
// Heads are the bytes of the header.
func vetHeader(h *tar.Header, heads []byte) error {
	switch {
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeSymlink:
		return fmt.Errorf("%q has tar type %q: only files, directories and symbolic links are shipped", h.Name, h.Typeflag)
	case h.Size != 0 && h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%q is not a file and has %d bytes", h.Name, h.Size)
	case h.Mode&0o7000 != 0:
		return fmt.Errorf("%q is setuid, setgid or sticky: clear the bit before packing", h.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if !slices.Contains(paxRecords, key) {
			return fmt.Errorf("%q has the PAX record %q, which some programs ignore: pack it without", h.Name, key)
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

// format is a format of tar. Magic is at byte 257 of its headers. Extended are the
// types of headers that describe the member after them. From the byte rest on, the
// header must be zeros: some programs take it for a part of the name.
type format struct {
	magic    string
	extended []byte
	rest     int
}

var formats = []format{
	{"ustar\x00", []byte{tar.TypeXHeader}, 500},
	{gnuMagic, []byte{tar.TypeGNULongName, tar.TypeGNULongLink}, 345},
	{strings.Repeat("\x00", 8), nil, 345}, // Unix V7
}

const gnuMagic = "ustar  \x00"

// numbers are where all formats have numbers: mode, owner, group, size, time, checksum.
var numbers = [][2]int{{100, 108}, {108, 116}, {116, 124}, {124, 136}, {136, 148}, {148, 156}}

var (
	errMixed   = errors.New("it mixes the formats of tar, or has none: pack it with tar --format=gnu (bsdtar: gnutar)")
	errUnclear = errors.New("it is not clear where its headers end: pack it with tar --format=gnu")
)

// vetHeads refuses headers of one member that are not of one format, and two extended
// ones of one type: some programs use the first, some the last, some both. The doubts
// of archive/tar are no measure: it doubts every number that ends with a space, as
// POSIX allows and bsdtar writes it.
func vetHeads(heads []byte) error {
	var seen []byte
	for of := -1; len(heads) >= blockSize; {
		is := formatOf(heads[:blockSize])
		if is < 0 || of >= 0 && is != of {
			return errMixed
		}
		of = is
		if len(heads) == blockSize {
			return nil
		}
		kind := heads[156]
		if bytes.IndexByte(seen, kind) >= 0 {
			return fmt.Errorf("it has two extended headers of type %q", kind)
		}
		seen = append(seen, kind)
		if bytes.IndexByte(formats[of].extended, kind) < 0 {
			return errMixed
		}
		size, err := strconv.ParseInt(string(bytes.Trim(heads[124:136], " \x00")), 8, 32)
		if size += blockSize + padding(size); err != nil || size < blockSize || size > int64(len(heads)) {
			return errUnclear
		}
		heads = heads[size:]
	}
	return errUnclear
}

// formatOf returns the position in formats of that of a header, or -1 if programs may
// disagree about it.
func formatOf(head []byte) int {
	is := slices.IndexFunc(formats, func(f format) bool { return bytes.HasPrefix(head[257:], []byte(f.magic)) })
	if is < 0 || !allZero(head[formats[is].rest:]) {
		return -1
	}
	for _, at := range numbers {
		field := head[at[0]:at[1]]
		if formats[is].magic == gnuMagic && (field[0] == 0x80 || field[0] == 0xff) {
			continue // The number is binary.
		}
		// Before the digits, some programs skip a zero byte, and some stop at it.
		rest := bytes.TrimLeft(bytes.TrimLeft(field, " "), "01234567")
		if len(bytes.Trim(rest, " \x00")) > 0 {
			return -1
		}
	}
	return is
}
