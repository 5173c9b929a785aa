package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// Check decompresses the whole tarball and compares every byte with the index:
// headers, hashes of contents, padding, the end. Nothing that the index does not
// name can stand in a tarball that passes.
func (f *File) Check(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), maxWorkers))
	for i := 0; i < len(f.index.Frames) && running.Err() == nil; i += f.index.pieces(i) {
		group.Go(func() error {
			if err := f.checkFrame(running, i); err != nil {
				return fmt.Errorf("checking frame %d: %w", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Check does what File.Check does for all components, several at once. Write copies
// their frames as they are: it is for components that nobody has vouched for, by a
// digest or otherwise. Copies that PlanMerge made, it has checked itself.
func (m *Merged) Check(ctx context.Context) error {
	problems := make([]error, len(m.Parts))
	var group errgroup.Group
	group.SetLimit(min(runtime.GOMAXPROCS(0), maxWorkers))
	for i, part := range m.Parts {
		if part.Reframed {
			continue
		}
		group.Go(func() error {
			if err := m.checkPart(ctx, i); err != nil {
				problems[i] = fmt.Errorf("component %q: %s: %w", part.Name, part.Path, err)
			}
			return nil
		})
	}
	_ = group.Wait() // They are in problems, in the order of the components.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.Join(problems...)
}

func (m *Merged) checkPart(ctx context.Context, part int) error {
	file, err := m.open(part)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Check(ctx)
}

// checkFrame checks a frame with the pieces that follow it.
func (f *File) checkFrame(ctx context.Context, frame int) error {
	for i := range f.index.pieces(frame) {
		if err := checkShape(f.file, f.index.Frames[frame+i]); err != nil {
			return fmt.Errorf("the index lies: %w", err)
		}
	}
	decoder, err := f.decode(frame)
	if err != nil {
		return err
	}
	defer decoder.Close()
	plain := cancellable(ctx, decoder)
	at := f.index.Frames[frame].ModTime
	for _, e := range f.index.in(frame) {
		if err := checkMember(plain, e.Member, at); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	if f.index.Frames[frame].Kind == FrameEnd {
		if err := expectZeros(plain, endSize); err != nil {
			return err
		}
	}
	n, err := io.ReadFull(plain, make([]byte, 1))
	switch {
	case n > 0:
		return errors.New("the index lies: it unpacks to more than its members")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

func checkMember(plain io.Reader, m Member, modTime time.Time) error {
	if err := expectHeader(plain, m, modTime); err != nil {
		return err
	}
	if !m.Mode.IsRegular() {
		return nil
	}
	hash := sha256.New()
	if _, err := io.CopyN(hash, plain, m.Size); err != nil {
		return unexpected(err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != m.SHA256 {
		return differs(sum, m.SHA256)
	}
	return expectZeros(plain, padding(m.Size))
}

func expectZeros(r io.Reader, n int64) error {
	got := make([]byte, n)
	if _, err := io.ReadFull(r, got); err != nil {
		return unexpected(err)
	}
	if !bytes.Equal(got, make([]byte, n)) {
		return errors.New("there are bytes where there must be zeros")
	}
	return nil
}

// cancelReader ends where a context does.
type cancelReader struct {
	from  io.Reader
	cause func() error
}

func cancellable(ctx context.Context, from io.Reader) io.Reader {
	return &cancelReader{from, func() error { return context.Cause(ctx) }}
}

// Read reads on while the context lasts.
func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.cause(); err != nil {
		return 0, err
	}
	return c.from.Read(p)
}
