package archive

import (
	"archive/tar"
	"bytes"
	"io/fs"
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
