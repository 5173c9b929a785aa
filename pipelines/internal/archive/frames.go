package archive

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// levels are the encoder levels by Options.Level - 1. They are part of the keys
// of artifacts, by their numbers here.
var levels = []zstd.EncoderLevel{
	zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression,
}

const (
	// maxWorkers bounds the memory on machines with many processors: at the best
	// level each takes some 100 MB.
	maxWorkers = 4
)

// frame is a piece of the tar stream on its way through the compressor.
type frame struct {
	plain, packed []byte
	// done gets a value when packed is ready.
	done chan struct{}
}

// frameWriter cuts a stream into frames, compresses several at once and writes
// them in order. The caller writes, cuts and stops from one goroutine.
type frameWriter struct {
	// done is closed when the caller gave up or the output failed; failure then
	// says why, and fail makes it so.
	done    <-chan struct{}
	failure func() error
	fail    context.CancelCauseFunc
	encoder *zstd.Encoder
	current *frame
	// free holds the frames that are not in use: there are no others, so that
	// taking one waits for the output.
	free chan *frame
	// queue holds the frames under way, in order.
	queue   chan *frame
	written sync.WaitGroup
	stopped bool
	// limit is how much of the stream a frame holds.
	limit int
	// cuts counts the frames that were cut; sizes has those that were written.
	cuts  int
	sizes []frameSizes
}

// frameSizes are the lengths of a frame in the file and in the tar stream.
type frameSizes struct{ packed, plain int64 }

func newFrameWriter(ctx context.Context, out io.Writer, options Options) (*frameWriter, error) {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(levels[options.Level-1]), zstd.WithEncoderConcurrency(workers),
		zstd.WithWindowSize(windowSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("starting the compressor: %w", err)
	}
	count := workers + 1
	w := &frameWriter{encoder: encoder, limit: cmp.Or(options.frame, frameSize), free: make(chan *frame, count), queue: make(chan *frame, count)}
	ctx, w.fail = context.WithCancelCause(ctx)
	w.done = ctx.Done()
	w.failure = func() error { return context.Cause(ctx) }
	for range count {
		w.free <- &frame{done: make(chan struct{}, 1)}
	}
	w.written.Go(func() {
		for f := range w.queue {
			<-f.done
			if w.failure() == nil {
				if _, err := out.Write(f.packed); err != nil {
					w.fail(err)
				}
				w.sizes = append(w.sizes, frameSizes{int64(len(f.packed)), int64(len(f.plain))})
			}
			w.free <- f
		}
	})
	return w, nil
}

// Write takes a part of the stream.
func (w *frameWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if err := w.take(); err != nil {
			return written, err
		}
		n := min(len(p), w.limit-len(w.current.plain))
		w.current.plain = append(w.current.plain, p[:n]...)
		p, written = p[n:], written+n
		if len(w.current.plain) == w.limit {
			w.cut()
		}
	}
	return written, nil
}

// end ends the current frame.
func (w *frameWriter) end() {
	if w.current != nil {
		w.cut()
	}
}

// left is how many bytes fit into the current frame.
func (w *frameWriter) left() int64 {
	if w.current == nil {
		return int64(w.limit)
	}
	return int64(w.limit - len(w.current.plain))
}

// take makes sure that there is a current frame.
func (w *frameWriter) take() error {
	if err := w.failure(); err != nil || w.current != nil {
		return err
	}
	select {
	case w.current = <-w.free:
	case <-w.done:
		return w.failure()
	}
	if w.current.plain == nil {
		w.current.plain = make([]byte, 0, w.limit)
	}
	w.current.plain = w.current.plain[:0]
	return nil
}

// cut sends the current frame on its way.
func (w *frameWriter) cut() {
	f := w.current
	w.current = nil
	w.cuts++
	w.queue <- f
	go func() {
		f.packed = w.encoder.EncodeAll(f.plain, f.packed[:0])
		f.done <- struct{}{}
	}()
}

// Close writes what is left and returns the first error of the output. After it
// sizes has all frames.
func (w *frameWriter) Close() error {
	w.end()
	w.drain()
	return w.failure()
}

// stop ends the work wherever it is; after Close it only frees the encoder.
func (w *frameWriter) stop() {
	w.fail(context.Canceled)
	w.drain()
	// Fails for streams alone, and this encoder had none.
	_ = w.encoder.Close()
}

func (w *frameWriter) drain() {
	if !w.stopped {
		w.stopped = true
		close(w.queue)
	}
	w.written.Wait()
}
