package archive

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// levels are the encoder levels by Options.Level - 1. They are part of the keys
// of artifacts, by their numbers here.
var levels = []zstd.EncoderLevel{
	zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression,
}

// maxWorkers bounds the memory on machines with many processors: at the best
// level each takes some 100 MB.
const maxWorkers = 4

// workers is how many frames are compressed or checked at a time.
func workers() int { return min(runtime.GOMAXPROCS(0), maxWorkers) }

// frame is a piece of the tar stream on its way through the compressor.
type frame struct {
	plain, packed []byte
	// done gets a value when packed is ready.
	done chan struct{}
}

// frameWriter cuts a stream into frames, compresses several at a time and writes
// them in order. One goroutine calls its methods.
type frameWriter struct {
	encoder *zstd.Encoder
	current *frame
	// free holds the frames that are not in use. There are no others, so taking
	// one waits for the output.
	free chan *frame
	// queue holds the frames being compressed, in order.
	queue   chan *frame
	written sync.WaitGroup
	closed  bool
	// failure is the first error of the output; nothing is written after it.
	failure atomic.Pointer[error]
	// limit is how much of the stream a frame holds.
	limit int
	// cuts counts the frames that were cut; sizes has those that were written.
	cuts  int
	sizes []frameSizes
}

// frameSizes are the lengths of a frame in the file and in the tar stream.
type frameSizes struct{ packed, plain int64 }

func newFrameWriter(out io.Writer, options Options) (*frameWriter, error) {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(levels[options.Level-1]), zstd.WithEncoderConcurrency(workers()),
		zstd.WithWindowSize(windowSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("starting the compressor: %w", err)
	}
	count := workers() + 1
	w := &frameWriter{encoder: encoder, limit: cmp.Or(options.frame, frameSize), free: make(chan *frame, count), queue: make(chan *frame, count)}
	for range count {
		w.free <- &frame{done: make(chan struct{}, 1)}
	}
	w.written.Go(func() { w.output(out) })
	return w, nil
}

// output writes the frames that are queued.
func (w *frameWriter) output(out io.Writer) {
	for f := range w.queue {
		<-f.done
		if w.failed() == nil {
			if _, err := out.Write(f.packed); err != nil {
				w.failure.Store(&err)
			}
			w.sizes = append(w.sizes, frameSizes{int64(len(f.packed)), int64(len(f.plain))})
		}
		w.free <- f
	}
}

func (w *frameWriter) failed() error {
	if err := w.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Write takes a part of the stream.
func (w *frameWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if err := w.failed(); err != nil {
			return written, err
		}
		if w.current == nil {
			w.current = <-w.free
			if w.current.plain == nil {
				w.current.plain = make([]byte, 0, w.limit)
			}
			w.current.plain = w.current.plain[:0]
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

// cut ends the current frame and sends it on its way.
func (w *frameWriter) cut() {
	f := w.current
	if f == nil {
		return
	}
	w.current = nil
	w.cuts++
	w.queue <- f
	go func() {
		f.packed = w.encoder.EncodeAll(f.plain, f.packed[:0])
		f.done <- struct{}{}
	}()
}

// left is how many bytes fit into the current frame.
func (w *frameWriter) left() int64 {
	if w.current == nil {
		return int64(w.limit)
	}
	return int64(w.limit - len(w.current.plain))
}

// Close writes the frames that were cut, frees the encoder and returns the first
// error of the output. After it, sizes has all frames.
func (w *frameWriter) Close() error {
	if !w.closed {
		w.closed = true
		close(w.queue)
		w.written.Wait()
		// It fails only for streams, and this encoder had none.
		_ = w.encoder.Close()
	}
	return w.failed()
}
