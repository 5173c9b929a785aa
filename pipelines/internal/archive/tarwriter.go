package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// tarWriter writes members as frames: directories have frames of their own, and
// so has a member that does not fit into one. It knows the index of what it has
// written.
type tarWriter struct {
	frames  *frameWriter
	modTime time.Time
	entries []Entry
	// directories tells whether the current frame is one of them.
	directories bool
	ended       bool
}

func newTarWriter(ctx context.Context, out io.Writer, options Options) (*tarWriter, error) {
	frames, err := newFrameWriter(ctx, out, options)
	if err != nil {
		return nil, err
	}
	return &tarWriter{frames: frames, modTime: options.ModTime}, nil
}

// add writes a member. Of a file it reads m.Size bytes of content, and fills in
// or compares its hash.
func (t *tarWriter) add(m Member, content io.Reader) error {
	head, err := headerBytes(m, t.modTime)
	if err != nil {
		return fmt.Errorf("packing %w", err)
	}
	size := int64(len(head)) + m.Size + padding(m.Size)
	if size > t.frames.left() || m.Mode.IsDir() != t.directories {
		t.frames.end()
	}
	t.directories = m.Mode.IsDir()
	entry := Entry{Member: m, Frame: t.frames.cuts}
	if _, err := t.frames.Write(head); err != nil {
		return fmt.Errorf("packing %s: %w", m.Name, err)
	}
	if m.Mode.IsRegular() {
		if entry.SHA256, err = t.content(m, content); err != nil {
			return fmt.Errorf("packing %s: %w", m.Name, err)
		}
	}
	t.entries = append(t.entries, entry)
	if size > int64(t.frames.limit) {
		t.frames.end()
	}
	return nil
}

// content writes that of a file, and returns its hash.
func (t *tarWriter) content(m Member, content io.Reader) (string, error) {
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(t.frames, hash), io.LimitReader(content, m.Size+1))
	if err != nil {
		return "", err
	}
	if n != m.Size {
		return "", fmt.Errorf("has %s%d bytes, and had %d before: something still writes to it", atLeast(n > m.Size), n, m.Size)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if m.SHA256 != "" && m.SHA256 != sum {
		return "", errors.New("has another content than before: something still writes to it")
	}
	_, err = t.frames.Write(make([]byte, padding(m.Size)))
	return sum, err
}

func atLeast(more bool) string {
	if more {
		return "at least "
	}
	return ""
}

// end ends the tar stream, in a frame of its own.
func (t *tarWriter) end() error {
	t.frames.end()
	t.ended = true
	if _, err := t.frames.Write(make([]byte, endSize)); err != nil {
		return fmt.Errorf("ending the tar stream: %w", err)
	}
	return nil
}

// close waits until all frames are written, and returns what they hold. Without
// an end before, they are part of a tarball.
func (t *tarWriter) close() (*Index, error) {
	if err := t.frames.Close(); err != nil {
		return nil, err
	}
	x := &Index{Entries: t.entries, ModTime: t.modTime}
	begins := map[int]FrameKind{}
	for _, e := range t.entries {
		begins[e.Frame] = FrameMembers
		if e.Mode.IsDir() {
			begins[e.Frame] = FrameDirectories
		}
	}
	for i, size := range t.frames.sizes {
		kind, begun := begins[i]
		switch {
		case begun:
		case t.ended && i == len(t.frames.sizes)-1:
			kind = FrameEnd
		default:
			kind = FramePiece
		}
		x.Frames = append(x.Frames, Frame{Kind: kind, Offset: x.size(), Size: size.packed, Unpacked: size.plain, ModTime: t.modTime})
	}
	return x, nil
}

// stop frees what the writer holds, wherever it is.
func (t *tarWriter) stop() { t.frames.stop() }
