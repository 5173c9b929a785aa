package archive

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// levels are the encoder levels by Options.Level - 1. The keys of artifacts contain
// the number.
var levels = []zstd.EncoderLevel{
	zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression,
}

// workers is how many frames are compressed or checked at a time. More than four
// would take too much memory: at the best level each takes some 60 MB.
func workers() int { return min(runtime.GOMAXPROCS(0), 4) }

// writer cuts the tar stream into frames, compresses several at a time and writes them
// in order. Directories have frames of their own, and so has a member that does not
// fit into one. One goroutine calls its methods.
type writer struct {
	out     io.Writer
	encoder *zstd.Encoder
	modTime time.Time
	// limit is how much of the stream a frame holds.
	limit int

	// frames are those begun so far. Buffers has the content of the last one, nil if it was
	// cut.
	frames []*Frame
	*buffers
	// free has the buffers that are not in use: there are as many as workers.
	free chan *buffers
	// directories tells whether the last frame is one of directories.
	directories bool
	// group compresses. Written is closed once all frames cut so far are in the output.
	group   errgroup.Group
	written chan struct{}
	failed  atomic.Bool
}

// buffers are those of one frame. Frames share them in turn, because new ones would grow the
// heap faster than it is collected.
type buffers struct{ plain, packed []byte }

// compose writes the frames of the members that add adds, and returns their index.
// Unless add ends the stream, the frames are only a part of a tarball.
func compose(out io.Writer, o Options, add func(w *writer) error) (*Index, error) {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(levels[o.Level-1]), zstd.WithEncoderConcurrency(workers()),
		zstd.WithWindowSize(windowSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("starting the compressor: %w", err)
	}
	w := &writer{out: out, encoder: encoder, modTime: o.ModTime, limit: cmp.Or(o.frame, frameSize), written: make(chan struct{}), free: make(chan *buffers, workers())}
	close(w.written)
	for range cap(w.free) {
		w.free <- &buffers{}
	}
	err = add(w)
	if err == nil {
		w.cut()
	}
	if failure := w.group.Wait(); err == nil {
		err = failure
	}
	_ = encoder.Close() // It fails only for streams, and this encoder had none.
	if err != nil {
		return nil, err
	}
	x := &Index{Time: o.ModTime.Unix()}
	for _, f := range w.frames {
		x.Frames = append(x.Frames, *f)
	}
	return x, nil
}

// add writes a member. For a file, it reads m.Size bytes of content and adds their hash.
func (w *writer) add(m Member, content io.Reader) error {
	head, err := headerBytes(m, w.modTime)
	if err != nil {
		return fmt.Errorf("packing %s: %w", m.Name, err)
	}
	size := int64(len(head)) + m.Size + padding(m.Size)
	if size > int64(w.room()) || m.Mode.IsDir() != w.directories {
		w.cut()
	}
	w.directories = m.Mode.IsDir()
	frame := w.frame()
	_, err = w.Write(head)
	if err == nil && m.Mode.IsRegular() {
		m.SHA256, err = w.content(m, content)
	}
	if err != nil {
		return fmt.Errorf("packing %s: %w", m.Name, err)
	}
	frame.Members = append(frame.Members, m)
	if size > int64(w.limit) {
		w.cut()
	}
	return nil
}

// content writes the content of a file, and returns its hash.
func (w *writer) content(m Member, content io.Reader) (string, error) {
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(content, m.Size+1))
	if err != nil {
		return "", err
	}
	if n != m.Size {
		return "", fmt.Errorf("the size is no longer %d bytes: something is still writing to it", m.Size)
	}
	_, err = w.Write(make([]byte, padding(m.Size)))
	return hex.EncodeToString(hash.Sum(nil)), err
}

// end ends the tar stream, in a frame of its own.
func (w *writer) end() error {
	w.cut()
	_, err := w.Write(make([]byte, endSize))
	return err
}

// room is how much the frame that is being filled can still take.
func (w *writer) room() int {
	if w.buffers == nil {
		return w.limit
	}
	return w.limit - len(w.plain)
}

// frame returns the frame that is being filled. If it is a new one and all workers are busy,
// it waits.
func (w *writer) frame() *Frame {
	if w.buffers == nil {
		w.buffers, w.frames = <-w.free, append(w.frames, &Frame{})
		if w.plain == nil { // Memory that is not used yet is only reserved.
			w.plain, w.packed = make([]byte, 0, w.limit), make([]byte, 0, w.encoder.MaxEncodedSize(w.limit))
		}
	}
	return w.frames[len(w.frames)-1]
}

func (w *writer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if w.failed.Load() {
			return 0, w.group.Wait()
		}
		w.frame()
		n := min(len(rest), w.room())
		w.plain = append(w.plain, rest[:n]...)
		rest = rest[n:]
		if w.room() == 0 {
			w.cut()
		}
	}
	return len(p), nil
}

// cut ends the frame that is being filled, and starts to compress it.
func (w *writer) cut() {
	if w.buffers == nil {
		return
	}
	frame, b, before, written := w.frame(), w.buffers, w.written, make(chan struct{})
	frame.Unpacked = int64(len(b.plain))
	w.buffers, w.written = nil, written
	w.group.Go(func() error {
		defer close(written)
		b.packed = w.encoder.EncodeAll(b.plain, b.packed[:0])
		frame.Size = int64(len(b.packed))
		<-before
		defer func() {
			b.plain = b.plain[:0]
			w.free <- b
		}()
		if w.failed.Load() {
			return nil
		}
		_, err := w.out.Write(b.packed)
		w.failed.Store(err != nil)
		return err
	})
}
