package github

import (
	"context"
	"errors"
	"io"
	"time"
)

// errStalled is the cause of a context that ended since nothing moved.
var errStalled = errors.New("nothing moved for too long")

// watch ends a context once no bytes were read for as long as it allows.
type watch struct {
	stall  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// watched returns a context that a watch ends. It does not watch before the
// first read.
func watched(ctx context.Context, stall time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{stall: stall, cancel: cancel}
	w.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	w.timer.Stop()
	return ctx, w
}

// end ends the context and the watch.
func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// reader returns a reader that is watched until it ends or is closed.
func (w *watch) reader(r io.Reader) io.ReadCloser { return &watchedReader{r, w} }

type watchedReader struct {
	io.Reader
	*watch
}

// Read reads on; from here to the next read counts.
func (r *watchedReader) Read(p []byte) (int, error) {
	r.timer.Reset(r.stall)
	n, err := r.Reader.Read(p)
	if err != nil {
		r.timer.Stop()
	}
	return n, err
}

// Close ends the watch alone.
func (r *watchedReader) Close() error {
	r.timer.Stop()
	return nil
}
