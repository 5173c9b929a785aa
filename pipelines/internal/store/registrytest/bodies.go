package registrytest

import (
	"io"
	"time"
)

// cut is a body that ends after some bytes.
type cut struct {
	io.ReadCloser
	left int64
	end  func() error
}

// Read reads until the end.
func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.end()
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// wrong is a body with one byte changed.
type wrong struct {
	io.ReadCloser
	at int64
}

// Read reads on.
func (w *wrong) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if w.at >= 0 && w.at < int64(n) {
		p[w.at] ^= 1
	}
	w.at -= int64(n)
	return n, err
}

// slow is a body that pauses.
type slow struct {
	io.ReadCloser
	most  int64
	pause time.Duration
}

// Read reads a little.
func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.ReadCloser.Read(p[:min(int64(len(p)), s.most)])
}
