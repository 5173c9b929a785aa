package cli

import (
	"context"
	"fmt"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// pushedSource is a source or a builder that the registry has now, or lacks.
type pushedSource struct {
	// Source is the path of the source, or "builder:<id>".
	Source string `json:"source"`
	// Place is that of the file that the registry has.
	Place string `json:"place,omitempty"`
	// State is "pushed", "there" or, of a builder alone, "missing".
	State string `json:"state"`
}

// The states of a pushedSource.
const (
	pushedNow   = "pushed"
	pushedThere = "there"
	notMade     = "missing"
)

func sourcePushCmd(process Process, tree *treeOptions) *cobra.Command {
	var o sourceOptions
	return o.command(process, tree, "push", "Push sources and builders to the registry, so that it is enough to build from",
		"Push to the registry of --cache what it lacks of the sources, fetching them where\nneed be, and of the builders in the local cache: with both, other machines build\nwith --offline.",
		func(ctx context.Context, s sources) error {
			if s.tiered.Registry == nil {
				return errNoRegistry
			}
			list := []pushedSource{}
			for _, p := range s.pinned {
				pushed, err := s.push(ctx, p)
				if err != nil {
					return err
				}
				list = append(list, pushed)
			}
			builders, err := s.pushBuilders(ctx)
			if err != nil {
				return err
			}
			list = append(list, builders...)
			if o.json {
				return printJSON(process.Stdout, list)
			}
			for _, l := range list {
				fmt.Fprintf(process.Stdout, "%s %s\n", l.Source, l.State)
			}
			return nil
		})
}

// push has the registry hold one of the equivalent files of a source.
func (s sources) push(ctx context.Context, p pinned) (pushedSource, error) {
	for _, place := range p.source.Places {
		if _, err := s.inRegistry(ctx, place); err == nil {
			return pushedSource{p.path, place.Name, pushedThere}, nil
		} else if !store.IsNotFound(err) {
			return pushedSource{}, err
		}
	}
	fetched, err := s.fetch(ctx, p)
	if err != nil {
		return pushedSource{}, err
	}
	for _, place := range p.source.Places {
		if place.Name != fetched.Place {
			continue
		}
		pushed, err := s.tiered.Registry.PushSource(ctx, place.Hash(), title(place), fetched.Path)
		if err != nil {
			return pushedSource{}, fmt.Errorf("pushing source %q: %w", p.path, err)
		}
		if !pushed {
			return pushedSource{p.path, place.Name, pushedThere}, nil
		}
	}
	return pushedSource{p.path, fetched.Place, pushedNow}, nil
}

// title is the name of a place's file for other OCI clients.
func title(place versions.Place) string {
	switch {
	case place.Debian != nil:
		return place.Debian.File
	case place.Go != nil:
		return path.Base(place.Go.Module) + "-" + place.Go.Version + ".zip"
	}
	return filepath.Base(place.URL)
}

// pushBuilders pushes the builders that are in the local cache.
func (s sources) pushBuilders(ctx context.Context) ([]pushedSource, error) {
	var list []pushedSource
	seen := map[string]bool{}
	builders := &store.Builders{Local: s.tiered.Local, Registry: s.tiered.Registry}
	for _, b := range s.builders {
		id, err := b.ID(s.arch)
		if err != nil {
			return nil, err
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		state := notMade
		_, where, err := builders.Find(ctx, id, s.arch)
		switch {
		case store.IsNotFound(err):
			s.report.Note(b.asset, "its builder was not made yet: build it once with --push")
		case err != nil:
			return nil, err
		case where == store.InRegistry:
			state = pushedThere
		default:
			pushed, err := builders.Publish(ctx, id, s.arch)
			if err != nil {
				return nil, fmt.Errorf("pushing the builder of %q: %w", b.asset, err)
			}
			if state = pushedThere; pushed {
				state = pushedNow
			}
		}
		list = append(list, pushedSource{Source: "builder:" + id[:12], State: state})
	}
	return list, nil
}
