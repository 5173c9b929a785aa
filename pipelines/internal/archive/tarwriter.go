package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// tarWriter writes members as frames: directories have frames of their own, and
// so has a member that does not fit into one.
type tarWriter struct {
	frames  *frameWriter
	modTime time.Time
	// members are those that begin in each frame.
	members [][]Member
	// directories tells whether the current frame is one of directories.
	directories bool
	ended       bool
}

// compose writes the frames of the members that add adds, and returns what they
// hold. Unless add ends the stream, they are part of a tarball.
func compose(out io.Writer, o Options, add func(t *tarWriter) error) (*Index, error) {
	frames, err := newFrameWriter(out, o)
	if err != nil {
		return nil, err
	}
	t := &tarWriter{frames: frames, modTime: o.ModTime}
	err = add(t)
	if err == nil {
		frames.cut()
	}
	if closed := frames.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	return t.index(), nil
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
		t.frames.cut()
	}
	t.directories = m.Mode.IsDir()
	at := t.frames.cuts
	if _, err := t.frames.Write(head); err != nil {
		return fmt.Errorf("packing %s: %w", m.Name, err)
	}
	if m.Mode.IsRegular() {
		if m.SHA256, err = t.content(m, content); err != nil {
			return fmt.Errorf("packing %s: %w", m.Name, err)
		}
	}
	for len(t.members) <= at {
		t.members = append(t.members, nil)
	}
	t.members[at] = append(t.members[at], m)
	if size > int64(t.frames.limit) {
		t.frames.cut()
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
		return "", fmt.Errorf("the size is no longer %d bytes: something is still writing to it", m.Size)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if m.SHA256 != "" && m.SHA256 != sum {
		return "", errors.New("the content has changed: something is still writing to it")
	}
	_, err = t.frames.Write(make([]byte, padding(m.Size)))
	return sum, err
}

// end ends the tar stream, in a frame of its own.
func (t *tarWriter) end() error {
	t.frames.cut()
	t.ended = true
	if _, err := t.frames.Write(make([]byte, endSize)); err != nil {
		return fmt.Errorf("ending the tar stream: %w", err)
	}
	return nil
}

// index says what has been written.
func (t *tarWriter) index() *Index {
	x := &Index{ModTime: t.modTime}
	for i, size := range t.frames.sizes {
		f := Frame{Size: size.packed, Unpacked: size.plain, ModTime: t.modTime}
		if i < len(t.members) {
			f.Members = t.members[i]
		}
		x.append(f, t.ended && i == len(t.frames.sizes)-1)
	}
	return x
}
