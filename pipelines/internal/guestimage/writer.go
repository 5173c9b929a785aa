package guestimage

import (
	"errors"
	"fmt"
	"io"
)

// writer writes an image from start to end. After an error it writes nothing.
type writer struct {
	to  io.Writer
	at  int64
	err error
}

// zeros is an endless source of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// fill writes zeros up to a byte of the image.
func (w *writer) fill(end int64) {
	if w.err == nil {
		_, w.err = io.CopyN(w.to, zeros{}, end-w.at)
		w.at = end
	}
}

func (w *writer) bytes(start int64, data []byte) {
	if w.fill(start); w.err == nil {
		_, w.err = w.to.Write(data)
		w.at += int64(len(data))
	}
}

// copy writes a part of the image, whose size must be that of the extent.
func (w *writer) copy(what string, part Extent, from io.Reader) {
	if w.fill(part.Start); w.err != nil {
		return
	}
	n, err := io.Copy(w.to, io.LimitReader(from, part.Size))
	if err == nil && n == part.Size {
		var more int
		more, err = io.ReadFull(from, make([]byte, 1))
		n += int64(more)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	switch {
	case err != nil:
		w.err = fmt.Errorf("copying the %s: %w", what, err)
	case n > part.Size:
		w.err = fmt.Errorf("the %s has more than %d bytes", what, part.Size)
	case n < part.Size:
		w.err = fmt.Errorf("the %s has %d bytes: want %d", what, n, part.Size)
	}
	w.at = part.end()
}
