package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// chunk is how much the copier reads at once: it stays in a processor's cache
// until it is written.
const chunk = 256 << 10

// copier writes a stream to a file. Where the file begins with the same bytes
// already, from a run that was killed, they are not written again.
type copier struct {
	to       *os.File
	progress func(done int64)
	n        int64
	piece    []byte
	// before is what the file had, for comparing; nil once it differed.
	before []byte
}

func newCopier(to *os.File, progress func(done int64)) *copier {
	if progress == nil {
		progress = func(int64) {}
	}
	return &copier{to: to, progress: progress, piece: make([]byte, chunk), before: make([]byte, chunk)}
}

// copy appends what a reader gives.
func (c *copier) copy(ctx context.Context, from io.Reader) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(from, c.piece)
		if err := c.write(c.piece[:n]); err != nil {
			return fmt.Errorf("writing the tarball: %w", err)
		}
		c.progress(c.n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// write writes a piece, unless it is there.
func (c *copier) write(piece []byte) error {
	if c.before != nil {
		n, err := c.to.ReadAt(c.before[:len(piece)], c.n)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(piece, c.before[:n]) {
			// ext4 brings to the disk, when it is closed, all of a file that was
			// truncated while it was empty: a new one is not.
			if n > 0 {
				if err := c.to.Truncate(c.n); err != nil {
					return err
				}
			}
			c.before = nil
		}
	}
	if c.before == nil {
		if _, err := c.to.WriteAt(piece, c.n); err != nil {
			return err
		}
	}
	c.n += int64(len(piece))
	return nil
}

// finish makes the length of the file that of a stream of size bytes.
func (c *copier) finish(size int64) error {
	if c.n != size {
		return fmt.Errorf("the tarball got %d bytes, and %d were planned", c.n, size)
	}
	if err := c.to.Truncate(size); err != nil {
		return fmt.Errorf("writing the tarball: %w", err)
	}
	return nil
}
