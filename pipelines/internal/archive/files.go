package archive

import (
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// Files reads the files with the given names, "./opt/kata/bin/x", in the order of the
// tarball. It decompresses once each frame that holds one of them, and no other. The
// content must be read to its end before the next file: see ReadFile for its errors.
func (f *File) Files(wanted map[string]bool) iter.Seq2[Member, io.Reader] {
	return func(yield func(Member, io.Reader) bool) {
		// One for all frames: each has buffers as large as the window.
		decoder, err := NewDecoder(nil)
		if err != nil {
			yield(Member{}, failed{err})
			return
		}
		defer decoder.Close()
		for i, frame := range f.index.Frames {
			last := -1
			for at, m := range frame.Members {
				if wanted[m.Name] && m.Mode.IsRegular() {
					last = at
				}
			}
			if last >= 0 && !f.filesOf(decoder, i, last, wanted, yield) {
				return
			}
		}
	}
}

// filesOf is Files for one frame, up to a member.
func (f *File) filesOf(decoder *zstd.Decoder, i, last int, wanted map[string]bool, yield func(Member, io.Reader) bool) bool {
	frame := f.index.Frames[i]
	if err := decoder.Reset(f.section(i)); err != nil {
		return yield(frame.Members[last], failed{err})
	}
	modTime := f.index.modTime(frame)
	for _, m := range frame.Members[:last+1] {
		rest := tarSize(m, modTime)
		if wanted[m.Name] && m.Mode.IsRegular() {
			content, err := newContent(decoder, m, modTime)
			if err != nil {
				return yield(m, failed{err})
			}
			if !yield(m, content) {
				return false
			}
			rest = padding(m.Size)
			if content.left > 0 {
				rest += content.left
			}
		}
		if _, err := io.CopyN(io.Discard, decoder, rest); err != nil {
			return yield(m, failed{fmt.Errorf("reading past %s: %w", m.Name, unexpected(err))})
		}
	}
	return true
}

// failed is the content of a file that cannot be read.
type failed struct{ error }

// Read returns the error.
func (f failed) Read([]byte) (int, error) { return 0, f.error }
