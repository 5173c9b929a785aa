package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// pushedSource is a source or a builder that the registry has now.
type pushedSource struct {
	// Source is the path of the source, or "builder:<id>".
	Source string `json:"source"`
	// Place is that of the file that the registry has.
	Place string `json:"place,omitempty"`
	// State is "pushed", "there", or "no sha256" where nothing tells its bytes from
	// others, so that no cache can hold it.
	State string `json:"state"`
}

// The states of a pushedSource.
const (
	pushedNow   = "pushed"
	pushedThere = "there"
	pushedNever = "no sha256"
)

func sourcePushCmd(a *app) *cobra.Command {
	var o sourceOptions
	return o.command(a, "push", "Push sources and builders to the registry, so that it is enough to build from",
		"Push to the registry of --cache what it lacks of the sources, fetching them where\nneed be, and of the builders in the local cache: with both, other machines build\nwith --offline.",
		func(ctx context.Context, s sources) error {
			if s.ws.Store.Registry == nil {
				return workspace.ErrNoRegistry
			}
			list, problems := []pushedSource{}, []error{}
			for _, p := range s.pinned {
				pushed, err := s.push(ctx, p)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err != nil { // The others are wanted all the same.
					problems = append(problems, err)
					continue
				}
				list = append(list, pushed)
			}
			builders, err := s.pushBuilders(ctx)
			list, problems = append(list, builders...), append(problems, err)
			if o.json {
				problems = append(problems, printJSON(a.Stdout, list))
				return errors.Join(problems...)
			}
			for _, l := range list {
				fmt.Fprintf(a.Stdout, "%s %s\n", l.Source, l.State)
			}
			return errors.Join(problems...)
		})
}

// push has the registry hold one of the equivalent files of a source.
func (s sources) push(ctx context.Context, p pinned) (pushedSource, error) {
	if !slices.ContainsFunc(p.source.Places, versions.Place.Cacheable) {
		return pushedSource{Source: p.path, State: pushedNever}, nil
	}
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
		if !place.Cacheable() { // The only place that answered.
			return pushedSource{Source: p.path, Place: place.Name, State: pushedNever}, nil
		}
		pushed, err := s.ws.Store.Registry.PushSource(ctx, place.Hash(), title(place), fetched.Path)
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
	case place.Git != nil:
		return path.Base(place.Git.URL) + "-" + place.Git.Commit + ".tar"
	case place.Go != nil:
		return path.Base(place.Go.Module) + "-" + place.Go.Version + ".zip"
	case place.GoProxy != nil:
		return path.Base(place.GoProxy.Module) + "-" + place.GoProxy.Version + ".tar"
	}
	return filepath.Base(place.URL)
}

// pushBuilders pushes the builders that are in the local cache: those of this
// kind of machine, and of the kind that the assets are for.
func (s sources) pushBuilders(ctx context.Context) ([]pushedSource, error) {
	var list []pushedSource
	seen := map[string]bool{}
	for _, r := range s.recipes {
		made := false
		for _, machine := range slices.Compact([]string{string(catalog.HostArch()), r.Arch}) {
			builder, err := r.On(machine)
			if err != nil {
				continue // Nothing can have made it.
			}
			id, err := builder.ID(machine)
			if err != nil {
				return nil, err
			}
			if made = made || seen[id]; seen[id] {
				continue
			}
			state, err := s.pushBuilder(ctx, id, machine)
			if err != nil {
				return nil, fmt.Errorf("pushing the builder of %q: %w", r.Asset, err)
			}
			if state != "" {
				made, seen[id] = true, true
				list = append(list, pushedSource{Source: "builder:" + id[:12], State: state})
			}
		}
		if !made {
			s.ws.Report.Note(r.Asset, "its builder was not made yet: build it once with --push")
		}
	}
	return list, nil
}

// pushBuilder has the registry hold a builder; the state is "" where none was
// made yet.
func (s sources) pushBuilder(ctx context.Context, id, machine string) (state string, err error) {
	builders := &store.Builders{Local: s.ws.Store.Local, Registry: s.ws.Store.Registry}
	_, where, err := builders.Find(ctx, id, machine)
	switch {
	case store.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	case where == store.InRegistry:
		return pushedThere, nil
	}
	if pushed, err := builders.Publish(ctx, id, machine); err != nil || pushed {
		return pushedNow, err
	}
	return pushedThere, nil
}
