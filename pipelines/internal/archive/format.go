package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strings"
	"time"
)

const (
	// frameSize is how much of the tar stream a frame holds at most: `make
	// bench-archive` shows the trade. With 16 MiB a kernel with debug information
	// takes 0.8 % less, with 8 MiB a large program 7 % more; a file is read from
	// one of 12 MiB in some 20 ms.
	frameSize = 12 << 20
	// windowSize is the most that the specification of zstd asks every reader to
	// accept.
	windowSize = 8 << 20
	// blockSize is tar's.
	blockSize = 512
	// endSize is the length of the two blocks of zeros that end a tar stream.
	endSize = 2 * blockSize
	// maxUnpacked bounds the work that a small tarball can ask for: a release
	// is 2 GiB packed, and unpacks to some six.
	maxUnpacked = 64 << 30
	// maxPacked bounds the tarballs that are read: four releases.
	maxPacked = 8 << 30
)

// ErrNoIndex says that a tarball ends without an index: it was built elsewhere.
// List and Extract read it nevertheless.
var ErrNoIndex = errors.New("the tarball has no index")

// Entry is a member with its place in a tarball.
type Entry struct {
	Member
	// Frame is the number of the frame that its header begins in.
	Frame int
}

// FrameKind says what a frame holds.
type FrameKind string

// What a frame can hold. A member that does not fit into a frame has some of
// its own: the first is of FrameMembers, the others are of FramePiece.
const (
	FrameDirectories FrameKind = "directories"
	FrameMembers     FrameKind = "members"
	FramePiece       FrameKind = "piece"
	FrameEnd         FrameKind = "end"
)

// Frame is one zstd frame of a tarball.
type Frame struct {
	Kind FrameKind
	// Offset and Size are its place in the file, in bytes.
	Offset, Size int64
	// Unpacked is how much of the tar stream it holds, in bytes.
	Unpacked int64
	// ModTime is the time of the members in it, in whole seconds.
	ModTime time.Time
}

// Index says what is in a tarball, and where. Together with the contents of the
// files it decides every byte of the tar stream.
type Index struct {
	// Frames are all frames but the index itself, in their order, without gaps.
	Frames []Frame
	// Entries are the members in their order; each name stands once.
	Entries []Entry
	// ModTime is that of the members of frames that have no other.
	ModTime time.Time
}

// Sized is a member with its share of the compressed bytes.
type Sized struct {
	Member
	// Packed is an estimate where members share a frame: the frame's bytes,
	// divided as the members' are. All of a frame add up to it.
	Packed int64
}

// Members returns the members in their order.
func (x *Index) Members() []Member {
	members := make([]Member, len(x.Entries))
	for i, e := range x.Entries {
		members[i] = e.Member
	}
	return members
}

// Sized returns the members in their order, with their shares of the tarball.
func (x *Index) Sized() []Sized { return x.sized(0) }

// sized is Sized from a frame on. The shares are rounded so that those of a frame
// add up to it: a sum over members is what a sum over frames is.
func (x *Index) sized(first int) []Sized {
	var sized []Sized
	for i := first; i < len(x.Frames); i += x.pieces(i) {
		packed, unpacked := x.span(i, x.pieces(i)), x.unpacked(i, x.pieces(i))
		var at, before int64
		for _, e := range x.in(i) {
			at += tarSize(e.Member, x.Frames[i].ModTime)
			until := share(packed, at, unpacked)
			sized = append(sized, Sized{Member: e.Member, Packed: until - before})
			before = until
		}
	}
	return sized
}

// share is size*part/whole, rounded down, of a part that is no more than the
// whole. The product can have more than 64 bits.
func share(size, part, whole int64) int64 {
	high, low := bits.Mul64(uint64(size), uint64(part))
	quotient, _ := bits.Div64(high, low, uint64(whole))
	return int64(quotient)
}

// pieces is how many frames belong to the members that begin in one.
func (x *Index) pieces(frame int) int {
	n := 1
	for frame+n < len(x.Frames) && x.Frames[frame+n].Kind == FramePiece {
		n++
	}
	return n
}

// span is the compressed length of n frames.
func (x *Index) span(frame, n int) int64 {
	last := x.Frames[frame+n-1]
	return last.Offset + last.Size - x.Frames[frame].Offset
}

// unpacked is the length of the tar stream in n frames.
func (x *Index) unpacked(frame, n int) (total int64) {
	for _, f := range x.Frames[frame : frame+n] {
		total += f.Unpacked
	}
	return total
}

// in returns the entries that begin in a frame.
func (x *Index) in(frame int) []Entry {
	first, _ := slices.BinarySearchFunc(x.Entries, frame, func(e Entry, frame int) int { return e.Frame - frame })
	end, _ := slices.BinarySearchFunc(x.Entries, frame+1, func(e Entry, frame int) int { return e.Frame - frame })
	return x.Entries[first:end]
}

// size is the length of the tarball without its index.
func (x *Index) size() int64 {
	if len(x.Frames) == 0 {
		return 0
	}
	return x.span(0, len(x.Frames))
}

// ordinary refuses members that this package never writes: a mode that is not
// one of the few, a hash that is none.
func ordinary(m Member) error {
	want := []fs.FileMode{0o644, 0o755}
	switch m.Mode.Type() {
	case fs.ModeDir:
		want = []fs.FileMode{fs.ModeDir | 0o755}
	case fs.ModeSymlink:
		want = []fs.FileMode{fs.ModeSymlink | 0o777}
	}
	hash := ""
	if m.Mode.IsRegular() {
		hash = strings.Repeat("x", 64)
	}
	switch {
	case !slices.Contains(want, m.Mode):
		return fmt.Errorf("%s has mode %s", m.Name, m.Mode)
	case m.Size < 0 || m.Size > maxUnpacked || m.Size > 0 && !m.Mode.IsRegular():
		return fmt.Errorf("%s cannot have %d bytes", m.Name, m.Size)
	case m.Link != "" && m.Mode.Type() != fs.ModeSymlink:
		return fmt.Errorf("%q is a directory, and has %q for the target of a link", m.Name, m.Link)
	case len(m.SHA256) != len(hash) || strings.Trim(m.SHA256, "0123456789abcdef") != "":
		return fmt.Errorf("%s has %q for a sha256", m.Name, m.SHA256)
	}
	return CheckMember(m)
}
