package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Component is one tarball of a merge, with the name that errors call it.
type Component struct {
	Name, Path string
	// Digest is the sha256 of the file in hex, empty if it must be hashed: see
	// Verdicts.
	Digest string
}

// Extra is a file that a merge adds, with mode 0644: "./opt/kata/VERSION".
type Extra struct {
	Name    string
	Content []byte
}

// Part is what one component contributes to the merged tarball.
type Part struct {
	Name string
	// Path is the tarball that is copied from. If Reframed is true, the component's
	// own has no index, and Path is its copy in Options.Cache.
	Path     string
	Reframed bool
	// Size is the length of its frames in the file in bytes.
	Size int64
	// Members are its files and links; the directories belong to all.
	Members []Sized

	index *Index // of Path
}

// Merged is a planned merge.
type Merged struct {
	// Size is the exact length of the tarball in bytes.
	Size int64
	// Parts are the components, in their order. Their sizes and Own, the length
	// of the directories, the extras, the end and the index, make up Size.
	Parts []Part
	Own   int64
	// Index is that of the tarball.
	Index *Index

	head, tail []byte // what is before and after the parts
}

const (
	// mergeLevel is the level of what a merge compresses itself: the best one would
	// take more memory than everything else together.
	mergeLevel = 3
	// mergeFrame is how much a frame of directories or extras holds. It saves memory,
	// too.
	mergeFrame = 1 << 20
)

// PlanMerge vets the components, reads their indexes and decides every byte of the
// merged tarball, but writes none. The error lists all problems: components that Vet
// refuses, paths in two components, links to nothing. Of a component without an index
// it writes a copy with one to o.Cache, unless an earlier merge did.
func PlanMerge(ctx context.Context, components []Component, extras []Extra, o Options) (*Merged, error) {
	if len(components) == 0 {
		return nil, errors.New("no components to merge")
	}
	if o.Cache == "" {
		return nil, errors.New("no cache folder for the merge")
	}
	o.Level = mergeLevel
	m := &Merged{Index: &Index{Time: o.ModTime.Unix()}}
	var problems []error
	seen := map[string]bool{}
	for _, c := range components {
		if seen[c.Name] {
			problems = append(problems, fmt.Errorf("duplicate component %q", c.Name))
			continue
		}
		seen[c.Name] = true
		part, err := readComponent(ctx, c, o)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("component %q: %w", c.Name, err))
			continue
		}
		m.Parts = append(m.Parts, part)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	directories, err := unite(m.Parts, extras)
	if err != nil {
		return nil, err
	}
	o.frame = mergeFrame
	return m, m.layout(directories, extras, o)
}

func readComponent(ctx context.Context, c Component, o Options) (Part, error) {
	part := Part{Name: c.Name, Path: c.Path}
	digest, err := o.verdicts().vet(ctx, c.Path, c.Digest)
	if err != nil {
		return part, err
	}
	file, err := Open(c.Path)
	if errors.Is(err, ErrNoIndex) {
		part.Reframed = true
		if part.Path, err = reframe(ctx, c.Path, digest, o); err != nil {
			return part, err
		}
		file, err = Open(part.Path)
	}
	if err != nil {
		return part, err
	}
	part.index = file.Index()
	return part, file.Close()
}

// layout lays out the tarball: directories, the components' frames, extras, end,
// index.
func (m *Merged) layout(directories []Member, extras []Extra, o Options) (err error) {
	m.head, err = m.compose(o, func(w *writer) error {
		for _, dir := range directories {
			if err := w.add(dir, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range m.Parts {
		m.addPart(&m.Parts[i])
	}
	m.tail, err = m.compose(o, func(w *writer) error {
		for _, extra := range extras {
			member := Member{Name: extra.Name, Mode: 0o644, Size: int64(len(extra.Content))}
			if err := w.add(member, bytes.NewReader(extra.Content)); err != nil {
				return err
			}
		}
		return w.end()
	})
	if err != nil {
		return err
	}
	index, err := m.Index.encode()
	if err != nil {
		return err
	}
	m.tail = append(m.tail, index...)
	m.Own = int64(len(m.head) + len(m.tail))
	m.Size = m.Index.size() + int64(len(index))
	return m.Index.checkFrames(m.Index.size())
}

// compose compresses the members that add adds, and adds their frames to the index.
func (m *Merged) compose(o Options, add func(w *writer) error) ([]byte, error) {
	var buffer bytes.Buffer
	x, err := compose(&buffer, o, add)
	if err != nil {
		return nil, err
	}
	m.Index.Frames = append(m.Index.Frames, x.Frames...)
	return buffer.Bytes(), nil
}

func (m *Merged) addPart(p *Part) {
	for _, f := range p.index.files() {
		p.Size += f.Size
		at := p.index.modTime(f).Unix()
		if f.Time = nil; at != m.Index.Time {
			f.Time = &at
		}
		m.Index.Frames = append(m.Index.Frames, f)
	}
	p.Members = slices.DeleteFunc(p.index.Sized(), func(s Sized) bool { return s.Mode.IsDir() })
}
