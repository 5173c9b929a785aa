package archive

import (
	"fmt"
	"io"
	"strings"
)

// maxFrame bounds the frames of tarballs that are read.
const maxFrame = 64 << 20

// ReadIndex reads the index at the end of a tarball of size bytes. The error is
// ErrNoIndex where there is none; an index that contradicts itself or the size
// of the file, or that holds a member that must not be shipped, is another
// error. Whether the frames hold what it says only decompressing shows: see
// File.Check. Memory is bounded whatever the tarball says.
func ReadIndex(r io.ReaderAt, size int64) (*Index, error) {
	if size > maxPacked {
		return nil, fmt.Errorf("a tarball of %d bytes: want at most %d", size, int64(maxPacked))
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

// checkFrames makes sure that the frames take up the file to offset, and that
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
		}
	}
	if at != offset {
		return fmt.Errorf("the frames end at %d, the index begins at %d", at, offset)
	}
	if len(x.Frames) == 0 || x.Frames[len(x.Frames)-1].Unpacked != endSize || len(x.in(len(x.Frames)-1)) > 0 {
		return fmt.Errorf("the last frame is not the end of a tar stream, of %d bytes", endSize)
	}
	for i, f := range x.Frames[:len(x.Frames)-1] {
		if f.Kind == FramePiece {
			if i == 0 || len(x.in(i-1)) > 1 || x.Frames[i-1].Kind == FrameDirectories {
				return fmt.Errorf("frame %d is a piece of no member", i)
			}
			continue
		}
		if err := x.checkMembers(i); err != nil {
			return err
		}
	}
	return nil
}

// checkMembers holds the length of a frame, with the pieces that follow it,
// against that of the members in it.
func (x *Index) checkMembers(i int) error {
	f := x.Frames[i]
	var want int64
	for _, e := range x.in(i) {
		if err := ordinary(e.Member); err != nil {
			return err
		}
		if e.Mode.IsDir() != (f.Kind == FrameDirectories) {
			return fmt.Errorf("frame %d holds directories beside others", i)
		}
		size := tarSize(e.Member, f.ModTime)
		if size == 0 {
			return fmt.Errorf("%s cannot be written in a tar stream", e.Name)
		}
		if want += size; want > maxUnpacked {
			return fmt.Errorf("%s makes the tarball unpack to more than %d bytes", e.Name, int64(maxUnpacked))
		}
	}
	if got := x.unpacked(i, x.pieces(i)); got != want {
		return fmt.Errorf("frame %d unpacks to %d bytes, its members take %d", i, got, want)
	}
	return nil
}

// checkNames refuses a name that stands twice, and a member below one that is
// no directory: extracting would write through a link. Directories alone may
// repeat where that is said: other programs write them so.
func checkNames(members []Member, repeat bool) error {
	others := make(map[string]bool, len(members)) // true for a directory
	for _, m := range members {
		name := strings.TrimSuffix(m.Name, "/")
		if is, twice := others[name]; twice && (!repeat || !is || !m.Mode.IsDir()) {
			return fmt.Errorf("%s stands twice", name)
		}
		others[name] = m.Mode.IsDir()
	}
	for _, m := range members {
		for folder := range above(m.Name) {
			if is, there := others[folder]; there && !is {
				return fmt.Errorf("%s stands below %s, which is no directory", m.Name, folder)
			}
		}
	}
	return nil
}

// above yields the names of the directories that a member is in, from the top,
// without slashes at their ends.
func above(name string) func(yield func(string) bool) {
	name = strings.TrimSuffix(name, "/")
	return func(yield func(string) bool) {
		for i := len("./"); i < len(name); i++ {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}
