package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Same tells whether the file out is the merged tarball already, to the byte, so
// that nothing needs to be written. It reads the file and the components once; of
// a file of another length, or with another index, only the end.
func (m *Merged) Same(ctx context.Context, out string) (bool, error) {
	file, err := Open(out)
	if err != nil {
		// Whatever is there instead is replaced, or Write says why it cannot be.
		return false, nil //nolint:nilerr // as said
	}
	defer file.Close()
	if x := file.Index(); file.Size() != m.Size || !slices.Equal(x.Frames, m.Index.Frames) || !slices.Equal(x.Entries, m.Index.Entries) {
		return false, nil
	}
	compare := &comparer{to: file.file, buffer: make([]byte, chunk)}
	for _, s := range m.steps {
		if err := m.compare(ctx, compare, s); err != nil {
			return false, err
		}
		if compare.differs {
			return false, nil
		}
	}
	return true, nil
}

func (m *Merged) compare(ctx context.Context, with *comparer, s step) error {
	switch {
	case s.data != nil:
		return with.read(ctx, bytes.NewReader(s.data))
	case s.without != nil:
		data, _, err := m.rewrite(ctx, s)
		if err != nil {
			return fmt.Errorf("component %q: %w", m.Parts[s.part].Name, err)
		}
		return with.read(ctx, bytes.NewReader(data))
	}
	file, err := m.open(s.part)
	if err != nil {
		return fmt.Errorf("component %q: %w", m.Parts[s.part].Name, err)
	}
	defer file.Close()
	return with.read(ctx, io.NewSectionReader(file.file, file.index.Frames[s.first].Offset, file.index.span(s.first, s.frames)))
}

// comparer holds a stream against a file.
type comparer struct {
	to      io.ReaderAt
	at      int64
	buffer  []byte
	differs bool
}

// read compares what a reader gives, until something differs.
func (c *comparer) read(ctx context.Context, from io.Reader) error {
	piece := make([]byte, chunk)
	for !c.differs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(from, piece)
		if n > 0 {
			there, readErr := c.to.ReadAt(c.buffer[:n], c.at)
			if readErr != nil && !errors.Is(readErr, io.EOF) {
				return fmt.Errorf("reading what is there: %w", readErr)
			}
			c.differs = !bytes.Equal(piece[:n], c.buffer[:there])
			c.at += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}
