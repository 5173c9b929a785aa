package archive

import (
	"context"
	"errors"
	"fmt"
)

// Component is one tarball of a merge, by the name that errors give it.
type Component struct{ Name, Path string }

// Extra is a file that a merge adds, with mode 0644: "./opt/kata/VERSION".
type Extra struct {
	Name    string
	Content []byte
}

// Part is what one component gives to the merged tarball.
type Part struct {
	Name string
	// Path is the tarball that is copied from. Reframed is true where that is
	// not the component's own, which has no index, but its copy in
	// Options.Scratch.
	Path     string
	Reframed bool
	// Size is the length of its frames in the file, Unpacked in the tar stream,
	// in bytes.
	Size, Unpacked int64
	// Members are its files and links; the directories belong to all.
	Members []Sized
	// Shared are the names that an earlier component gives already, the same to
	// the byte.
	Shared []string
}

// Merged is a merge that was planned.
type Merged struct {
	// Size is the exact length of the tarball in bytes.
	Size int64
	// Parts are the components, in their order. Their sizes and Own, the length
	// of the directories, the extras, the end and the index, make up Size.
	Parts []Part
	Own   int64
	// Index is that of the tarball.
	Index *Index
	// Progress, if set, gets the number of bytes written so far.
	Progress func(done int64)

	sources []*Index // by part
	steps   []step
}

// step is a stretch of the merged tarball: data, or frames of a component, as
// they are or without some of their members.
type step struct {
	data          []byte
	part          int
	first, frames int
	without       map[string]bool
}

// mergeLevel is that of the few frames that a merge makes itself: the best one
// would take more memory than all else together.
const mergeLevel = 3

// mergeFrame is how much those frames hold, for the same reason.
const mergeFrame = 1 << 20

// PlanMerge reads the indexes of the components and decides every byte of the
// merged tarball, but writes none. All that stands in the way is in the error:
// a path in two components that is not the same in both, links to nothing,
// members that ReadIndex refuses. Components without an index are written once
// more with one, to o.Scratch, unless they are there from an earlier merge.
func PlanMerge(ctx context.Context, components []Component, extras []Extra, o Options) (*Merged, error) {
	if len(components) == 0 {
		return nil, errors.New("no components to merge")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	m := &Merged{Index: &Index{ModTime: o.ModTime}}
	var problems []error
	seen := map[string]bool{}
	for _, c := range components {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if seen[c.Name] {
			problems = append(problems, fmt.Errorf("component %q is listed twice", c.Name))
			continue
		}
		seen[c.Name] = true
		index, part, err := readComponent(ctx, c, o)
		if err != nil {
			problems = append(problems, fmt.Errorf("component %q: %w", c.Name, err))
			continue
		}
		m.sources, m.Parts = append(m.sources, index), append(m.Parts, part)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	all, err := unite(m.Parts, m.sources, extras)
	if err != nil {
		return nil, err
	}
	o.Level, o.frame = mergeLevel, mergeFrame
	return m, m.plan(ctx, all, extras, o)
}

func readComponent(ctx context.Context, c Component, o Options) (*Index, Part, error) {
	part := Part{Name: c.Name, Path: c.Path}
	file, err := Open(c.Path)
	if errors.Is(err, ErrNoIndex) {
		part.Reframed = true
		if part.Path, err = reframe(ctx, c.Path, o); err != nil {
			return nil, part, err
		}
		file, err = Open(part.Path)
	}
	if err != nil {
		return nil, part, err
	}
	return file.Index(), part, file.Close()
}
