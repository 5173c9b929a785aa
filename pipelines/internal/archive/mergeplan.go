package archive

import (
	"bytes"
	"context"
	"fmt"
)

// plan lays out the tarball: directories, the components' frames, extras, end,
// index.
func (m *Merged) plan(ctx context.Context, all *union, extras []Extra, o Options) error {
	err := m.make(ctx, o, func(t *tarWriter) error {
		for _, dir := range all.directories() {
			if err := t.add(dir, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range m.Parts {
		frames := len(m.Index.Frames)
		if err := m.planPart(ctx, i, all.shared[i]); err != nil {
			return fmt.Errorf("component %q: %w", m.Parts[i].Name, err)
		}
		m.account(i, frames)
	}
	err = m.make(ctx, o, func(t *tarWriter) error {
		for _, extra := range extras {
			member := Member{Name: extra.Name, Mode: 0o644, Size: int64(len(extra.Content))}
			if err := t.add(member, bytes.NewReader(extra.Content)); err != nil {
				return err
			}
		}
		return t.end()
	})
	if err != nil {
		return err
	}
	index, err := m.Index.encode()
	if err != nil {
		return err
	}
	m.steps = append(m.steps, step{data: index})
	m.Own += int64(len(index))
	m.Size = m.Index.size() + int64(len(index))
	return m.Index.checkFrames(m.Index.size())
}

// make adds frames that are compressed here and now.
func (m *Merged) make(ctx context.Context, o Options, add func(t *tarWriter) error) error {
	data, x, err := compose(ctx, o, add)
	if err != nil {
		return err
	}
	m.steps = append(m.steps, step{data: data})
	m.Own += int64(len(data))
	m.append(x, 0, len(x.Frames))
	return nil
}

// compose returns the frames of what add adds.
func compose(ctx context.Context, o Options, add func(t *tarWriter) error) ([]byte, *Index, error) {
	var buffer bytes.Buffer
	t, err := newTarWriter(ctx, &buffer, o)
	if err != nil {
		return nil, nil, err
	}
	defer t.stop()
	if err := add(t); err != nil {
		return nil, nil, err
	}
	x, err := t.close()
	return buffer.Bytes(), x, err
}

// append adds frames with their members to the index.
func (m *Merged) append(from *Index, first, n int) {
	for i := first; i < first+n; i++ {
		frame := from.Frames[i]
		frame.Offset = m.Index.size()
		for _, e := range from.in(i) {
			m.Index.Entries = append(m.Index.Entries, Entry{Member: e.Member, Frame: len(m.Index.Frames)})
		}
		m.Index.Frames = append(m.Index.Frames, frame)
	}
}

// planPart adds the frames of a component that hold files and links. Those that
// an earlier component gives already are left out, with their frames where they
// fill them.
func (m *Merged) planPart(ctx context.Context, part int, shared map[string]bool) error {
	x := m.sources[part]
	for i := 0; i < len(x.Frames); i += x.pieces(i) {
		if x.Frames[i].Kind != FrameMembers {
			continue
		}
		s := step{part: part, first: i, frames: x.pieces(i)}
		gone := 0
		for _, e := range x.in(i) {
			if shared[e.Name] {
				gone++
				m.Parts[part].Shared = append(m.Parts[part].Shared, e.Name)
			}
		}
		switch gone {
		case len(x.in(i)):
			continue
		case 0:
			m.append(x, s.first, s.frames)
		default:
			s.without = shared
			_, rest, err := m.rewrite(ctx, s)
			if err != nil {
				return err
			}
			m.append(rest, 0, len(rest.Frames))
		}
		m.step(s)
	}
	return nil
}

// step adds a step, to the one before where the bytes follow each other.
func (m *Merged) step(s step) {
	if last := &m.steps[len(m.steps)-1]; last.data == nil && last.without == nil && s.without == nil &&
		last.part == s.part && last.first+last.frames == s.first {
		last.frames += s.frames
		return
	}
	m.steps = append(m.steps, s)
}

// account fills in the sizes of a part, whose frames are the last.
func (m *Merged) account(part, first int) {
	p := &m.Parts[part]
	for _, f := range m.Index.Frames[first:] {
		p.Size += f.Size
		p.Unpacked += f.Unpacked
	}
	p.Members = m.Index.sized(first)
}
