package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/bits"
	"strings"
	"time"
)

const (
	// frameSize is how much of the tar stream a frame holds at most: `make
	// bench-archive` shows the trade-off. With 16 MiB a kernel with debug information
	// takes 0.8 % less space, with 8 MiB a large program takes 7 % more. Reading a
	// file from a frame of 12 MiB takes some 20 ms.
	frameSize = 12 << 20
	// windowSize is the most that the specification of zstd asks every reader to
	// accept.
	windowSize = 8 << 20
	// blockSize is that of tar.
	blockSize = 512
	// endSize is the length of the two blocks of zeros that end a tar stream.
	endSize = 2 * blockSize
	// maxFrame bounds the unpacked size of the frames that are read.
	maxFrame = 64 << 20
	// maxUnpacked bounds the work that a small tarball can cause: a release
	// is 2 GiB packed, and unpacks to some six.
	maxUnpacked = 64 << 30
	// maxPacked bounds the tarballs that are read: four releases.
	maxPacked = 8 << 30
)

// ErrNoIndex says that a tarball ends without an index: another program built it.
// List, Extract and Vet read it nevertheless.
var ErrNoIndex = errors.New("the tarball has no index")

// Index says what is in a tarball, and where. Together with the contents of the
// files it decides every byte of the tar stream. Offsets and numbers of frames follow
// from their order, so they cannot be wrong.
type Index struct {
	// Time is the time of members whose frame has none, in seconds since 1970.
	Time int64 `json:"time"`
	// Frames are all frames but the index itself, in their order, without gaps. The
	// last one is the end of the tar stream.
	Frames []Frame `json:"frames"`
}

// Frame is one zstd frame of a tarball. It holds directories or other members. A member
// that does not fit into a frame has several of its own. All but the first are called
// pieces, and list no members.
type Frame struct {
	// Size is its length in the file, Unpacked that in the tar stream, in bytes.
	Size     int64 `json:"size"`
	Unpacked int64 `json:"unpacked"`
	// Time is the time of its members if it differs from that of the index.
	Time *int64 `json:"time,omitempty"`
	// Members are those whose headers begin in it, in their order.
	Members []Member `json:"members,omitempty"`
}

func (f Frame) isDirectories() bool { return len(f.Members) > 0 && f.Members[0].Mode.IsDir() }

func (x *Index) modTime(f Frame) time.Time {
	if f.Time != nil {
		return time.Unix(*f.Time, 0)
	}
	return time.Unix(x.Time, 0)
}

// Members returns the members in their order.
func (x *Index) Members() []Member {
	var members []Member
	for _, f := range x.Frames {
		members = append(members, f.Members...)
	}
	return members
}

// Sized is a member with its share of the compressed bytes.
type Sized struct {
	Member
	// Frame is the number of the frame that its header begins in.
	Frame int
	// Packed is an estimate where members share a frame: it divides the frame's bytes
	// in proportion to the sizes of the members. The shares add up to the frame.
	Packed int64
}

// Sized returns the members in their order, with their shares of the tarball. The
// shares are rounded so that those of a frame add up to it: a sum over members equals
// the sum over their frames.
func (x *Index) Sized() []Sized {
	var sized []Sized
	for i := 0; i < len(x.Frames); i += x.pieces(i) {
		packed, unpacked := x.span(i, x.pieces(i))
		var at, before int64
		for _, m := range x.Frames[i].Members {
			at += tarSize(m, x.modTime(x.Frames[i]))
			until := share(packed, at, unpacked)
			sized = append(sized, Sized{Member: m, Frame: i, Packed: until - before})
			before = until
		}
	}
	return sized
}

// share returns size*part/whole, rounded down, for a part that is no larger than
// the whole. The product can have more than 64 bits.
func share(size, part, whole int64) int64 {
	high, low := bits.Mul64(uint64(size), uint64(part))
	quotient, _ := bits.Div64(high, low, uint64(whole))
	return int64(quotient)
}

// files yields the frames of files and links, with their offsets in the file.
func (x *Index) files() iter.Seq2[int64, Frame] {
	return func(yield func(int64, Frame) bool) {
		offset := int64(0)
		for _, f := range x.Frames[:len(x.Frames)-1] {
			if !f.isDirectories() && !yield(offset, f) {
				return
			}
			offset += f.Size
		}
	}
}

// pieces counts a frame and the pieces that follow it.
func (x *Index) pieces(frame int) int {
	n := 1
	for frame+n < len(x.Frames)-1 && len(x.Frames[frame+n].Members) == 0 {
		n++
	}
	return n
}

// span returns the length of n frames in the file and in the tar stream.
func (x *Index) span(frame, n int) (packed, unpacked int64) {
	for _, f := range x.Frames[frame : frame+n] {
		packed += f.Size
		unpacked += f.Unpacked
	}
	return packed, unpacked
}

func (x *Index) size() int64 {
	size, _ := x.span(0, len(x.Frames))
	return size
}

// readIndex reads the index at the end of a tarball of size bytes. The error is
// ErrNoIndex if there is none; an index that contradicts itself or the size of
// the file, or that holds a member that must not be shipped, is another error.
// Only Vet compares the frames with it. Memory is bounded
// whatever the tarball says.
func readIndex(r io.ReaderAt, size int64) (*Index, error) {
	if size > maxPacked {
		return nil, fmt.Errorf("the tarball has %d bytes: want at most %d", size, int64(maxPacked))
	}
	text, offset, err := unpackIndex(r, size)
	if err != nil {
		return nil, err
	}
	x, err := decodeIndex(text)
	if err != nil {
		return nil, err
	}
	if err := x.checkFrames(offset); err != nil {
		return nil, fmt.Errorf("the index lies: %w", err)
	}
	if err := checkNames(x.Members(), false); err != nil {
		return nil, fmt.Errorf("the index lies: %w", err)
	}
	return x, nil
}

// checkFrames makes sure that the frames take up the file up to offset, and that
// each has the length of the members in it.
func (x *Index) checkFrames(offset int64) error {
	var at, total int64
	for i, f := range x.Frames {
		at += f.Size
		total += f.Unpacked
		switch {
		case f.Size <= 0 || f.Size > offset || at > offset:
			return fmt.Errorf("frame %d has %d bytes, of the %d before the index", i, f.Size, offset)
		case f.Unpacked <= 0 || f.Unpacked > maxFrame:
			return fmt.Errorf("frame %d unpacks to %d bytes: want 1 to %d", i, f.Unpacked, maxFrame)
		case total > maxUnpacked:
			return fmt.Errorf("the tarball unpacks to more than %d bytes", int64(maxUnpacked))
		case f.Time != nil && *f.Time == x.Time:
			return fmt.Errorf("frame %d repeats the time of the index", i)
		}
	}
	if at != offset {
		return fmt.Errorf("the frames end at %d, but the index begins at %d", at, offset)
	}
	last := len(x.Frames) - 1
	if last < 0 || x.Frames[last].Unpacked != endSize || len(x.Frames[last].Members) > 0 {
		return fmt.Errorf("the last frame is not the end of a tar stream, of %d bytes", endSize)
	}
	for i, f := range x.Frames[:last] {
		if len(f.Members) > 0 {
			if err := x.checkMembers(i); err != nil {
				return err
			}
		} else if i == 0 || len(x.Frames[i-1].Members) > 1 || x.Frames[i-1].isDirectories() {
			return fmt.Errorf("frame %d continues no member", i)
		}
	}
	return nil
}

// checkMembers compares the length of a frame, with the pieces that follow it,
// with that of the members in it.
func (x *Index) checkMembers(i int) error {
	f := x.Frames[i]
	var want int64
	for _, m := range f.Members {
		if err := ordinary(m); err != nil {
			return err
		}
		if m.Mode.IsDir() != f.isDirectories() {
			return fmt.Errorf("frame %d mixes directories with other members", i)
		}
		size := tarSize(m, x.modTime(f))
		if size == 0 {
			return fmt.Errorf("%s cannot be written in a tar stream", m.Name)
		}
		if want += size; want > maxUnpacked {
			return fmt.Errorf("%s makes the tarball unpack to more than %d bytes", m.Name, int64(maxUnpacked))
		}
	}
	if _, got := x.span(i, x.pieces(i)); got != want {
		return fmt.Errorf("frame %d unpacks to %d bytes, but its members take %d", i, got, want)
	}
	return nil
}

// ordinary refuses members that this package never writes.
func ordinary(m Member) error {
	hash := 0
	if m.Mode.IsRegular() {
		hash = 64
	}
	switch {
	case m.Mode != normal(m).Mode:
		return fmt.Errorf("%s has mode %s", m.Name, m.Mode)
	case m.Size < 0 || m.Size > maxUnpacked || m.Size > 0 && !m.Mode.IsRegular():
		return fmt.Errorf("%s cannot have %d bytes", m.Name, m.Size)
	case m.Link != "" && m.Mode.Type() != fs.ModeSymlink:
		return fmt.Errorf("%q is a directory, and has the link target %q", m.Name, m.Link)
	case len(m.SHA256) != hash || strings.Trim(m.SHA256, "0123456789abcdef") != "":
		return fmt.Errorf("%s has the sha256 %q", m.Name, m.SHA256)
	}
	return CheckMember(m)
}

// normal sets the mode of a member as Pack does.
func normal(m Member) Member {
	switch {
	case m.Mode.IsDir():
		m.Mode = fs.ModeDir | 0o755
	case m.Mode.Type() == fs.ModeSymlink:
		m.Mode = fs.ModeSymlink | 0o777
	case m.Mode&0o111 != 0:
		m.Mode = 0o755
	default:
		m.Mode = 0o644
	}
	return m
}
