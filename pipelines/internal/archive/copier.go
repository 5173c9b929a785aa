package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// chunk is how much the copier reads at once: it stays in a processor's cache
// until it is written and hashed.
const chunk = 256 << 10

// copier writes a stream to a file and hashes it at the same time. Where the
// file begins with the same bytes already, from a run that was killed, they are
// not written again.
type copier struct {
	to       *os.File
	progress func(done int64)
	n        int64
	hash     hash.Hash
	// free holds the chunks that are not in use, queue those to hash.
	free, queue chan []byte
	hashed      chan struct{}
	// before is what the file had, for comparing; nil once it differed.
	before  []byte
	stopped bool
}

func newCopier(to *os.File, progress func(done int64)) *copier {
	if progress == nil {
		progress = func(int64) {}
	}
	c := &copier{
		to: to, progress: progress, hash: sha256.New(), before: make([]byte, chunk),
		free: make(chan []byte, 3), queue: make(chan []byte, 3), hashed: make(chan struct{}),
	}
	for range cap(c.free) {
		c.free <- make([]byte, chunk)
	}
	go func() {
		defer close(c.hashed)
		for piece := range c.queue {
			c.hash.Write(piece)
			c.free <- piece[:chunk]
		}
	}()
	return c
}

// copy appends what a reader gives.
func (c *copier) copy(ctx context.Context, from io.Reader) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		piece := <-c.free
		n, err := io.ReadFull(from, piece)
		piece = piece[:n]
		writeErr := c.write(piece)
		c.queue <- piece
		if writeErr != nil {
			return fmt.Errorf("writing the tarball: %w", writeErr)
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
			if err := c.to.Truncate(c.n); err != nil {
				return err
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

// finish returns the hash of a stream of size bytes, and makes that the length
// of the file.
func (c *copier) finish(size int64) ([]byte, error) {
	c.stop()
	if c.n != size {
		return nil, fmt.Errorf("the tarball got %d bytes, and %d were planned", c.n, size)
	}
	if err := c.to.Truncate(size); err != nil {
		return nil, fmt.Errorf("writing the tarball: %w", err)
	}
	return c.hash.Sum(nil), nil
}

// stop waits for the hashing to end.
func (c *copier) stop() {
	if !c.stopped {
		c.stopped = true
		close(c.queue)
	}
	<-c.hashed
}
