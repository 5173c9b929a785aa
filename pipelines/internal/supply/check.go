package supply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Checked is one place of a source, checked.
type Checked struct {
	Source string `json:"source"`
	Place  string `json:"place"`
	Hash   string `json:"hash"`
	// Local is about the file in the local caches: "ok", "not cached", or the problem.
	Local string `json:"local"`
	// Upstream is about the place: "ok", "no answer", or the problem; "" if it was not
	// asked. Why has the reason for no answer.
	Upstream string `json:"upstream,omitempty"`
	Why      string `json:"why,omitempty"`
	// Wrong is true if one of them differs from the declared hash.
	Wrong bool `json:"wrong"`
	// Lost is true if no place of the source answers.
	Lost bool `json:"lost,omitempty"`
}

const ok = "ok"

// Check hashes the files of all places that the local caches have. With upstream, it also
// asks each place whether it has the file today, and those of the sources that no asset
// uses: a pin is moved before it is built. The error counts the places with other
// bytes than declared, and names the sources that no place has.
func (s *Set) Check(ctx context.Context, upstream bool) (list []Checked, err error) {
	all := *s
	if upstream {
		all.Sources = slices.Concat(s.Sources, s.Unused)
	}
	list, err = places(&all, func(d workspace.Declared, place versions.Place) (Checked, error) {
		c, err := s.check(ctx, d, place)
		if err == nil && upstream {
			err = s.ask(ctx, d, place, &c)
		}
		return c, err
	})
	if err != nil {
		return list, err
	}
	if upstream {
		err = lost(list)
	}
	wrong := 0
	for _, c := range list {
		if c.Wrong {
			wrong++
		}
	}
	if wrong > 0 {
		err = errors.Join(fmt.Errorf("%d of %d places have other bytes than declared: see the table; remove a damaged file from the cache, "+
			"or correct the declared hash if the change is intended", wrong, len(list)), err)
	}
	return list, err
}

// lost marks the places of sources that no place has, and returns an error that names the
// sources.
func lost(list []Checked) error {
	answered, sources, gone := map[string]bool{}, map[string]bool{}, []string{}
	for _, c := range list {
		answered[c.Source] = answered[c.Source] || c.Upstream == ok
		sources[c.Source] = true
	}
	for i, c := range list {
		if list[i].Lost = !answered[c.Source]; list[i].Lost && !slices.Contains(gone, c.Source) {
			gone = append(gone, c.Source)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d sources have no place left that answers: %s; a cache may still have them (`source list`): "+
		"push them to the registry with `source push`, or move to a version that can be fetched with `bump`",
		len(gone), len(sources), strings.Join(gone, ", "))
}

func (s *Set) check(ctx context.Context, d workspace.Declared, place versions.Place) (Checked, error) {
	c := Checked{Source: d.Path, Place: place.Name, Hash: place.Hash(), Local: "not cached"}
	state, err := s.Fetcher.Check(ctx, place)
	switch {
	case err != nil:
		return c, fmt.Errorf("checking source %q: %w", d.Path, err)
	case state.Damage != "":
		c.Local, c.Wrong = state.Damage, true
	case state.Cached:
		c.Local = ok
	}
	return c, nil
}

func (s *Set) ask(ctx context.Context, d workspace.Declared, place versions.Place, c *Checked) error {
	err := s.Fetcher.Answers(ctx, d.Source, place)
	var other *source.Mismatch
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		c.Upstream = ok
	case errors.As(err, &other):
		c.Upstream, c.Wrong = "has "+other.Got, true
	default:
		c.Upstream, c.Why = "no answer", err.Error()
		s.Report.Note(d.Path, fmt.Sprintf("%s: %v", place.Name, err))
	}
	return nil
}
