package archive

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// rewrite compresses the frame of a step anew, without some of its members.
func (m *Merged) rewrite(ctx context.Context, s step) ([]byte, *Index, error) {
	file, err := m.open(s.part)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	decoder, err := file.decode(s.first)
	if err != nil {
		return nil, nil, err
	}
	defer decoder.Close()
	modTime := file.index.Frames[s.first].ModTime
	return compose(ctx, Options{Level: mergeLevel, ModTime: modTime, frame: mergeFrame}, func(t *tarWriter) error {
		for _, e := range file.index.in(s.first) {
			if s.without[e.Name] {
				if _, err := io.CopyN(io.Discard, decoder, tarSize(e.Member, modTime)); err != nil {
					return fmt.Errorf("reading %s: %w", e.Name, unexpected(err))
				}
				continue
			}
			if err := expectHeader(decoder, e.Member, modTime); err != nil {
				return err
			}
			if err := t.add(e.Member, io.LimitReader(decoder, e.Size)); err != nil {
				return err
			}
			if err := expectZeros(decoder, padding(e.Size)); err != nil {
				return fmt.Errorf("reading %s: %w", e.Name, err)
			}
		}
		return nil
	})
}

// open opens the tarball of a part, which must be the one that was planned for.
func (m *Merged) open(part int) (*File, error) {
	file, err := Open(m.Parts[part].Path)
	if err != nil {
		return nil, err
	}
	if x := m.sources[part]; !slices.Equal(x.Frames, file.index.Frames) || !slices.Equal(x.Entries, file.index.Entries) {
		_ = file.Close()
		return nil, fmt.Errorf("%s is another tarball than when the merge was planned", m.Parts[part].Path)
	}
	return file, nil
}
