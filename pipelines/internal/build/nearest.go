package build

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// entry is an artifact whose recipe this program can read.
type entry struct {
	key, where string
	recipe     recipe.Recipe
}

// earlier finds the artifact that a recipe is best compared with. The local
// store is listed once, when it is first needed.
type earlier struct {
	*Planner

	mu     sync.Mutex
	listed bool
	local  []store.Artifact
}

// nearest returns the artifact of the same asset and arch that shares most
// inputs with a recipe, or nil: of the local store, or, where that has none,
// the one that the registry's moving tag of the branch points at.
func (e *earlier) nearest(ctx context.Context, wanted recipe.Recipe) (*entry, error) {
	local, err := e.list(ctx)
	if err != nil {
		return nil, err
	}
	if best := closest(wanted, store.InLocal, local); best != nil || e.Latest == nil {
		return best, nil
	}
	latest, err := e.Latest(ctx, wanted.Asset, store.MovingTag("latest", e.Branch, wanted.Arch))
	switch {
	case err == nil:
		return closest(wanted, store.InRegistry, []store.Artifact{latest}), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !store.IsNotFound(err):
		// A plan is right without it, and only says less.
		e.Note(fmt.Sprintf("comparing %s with the registry: %v", wanted.Asset, err))
	}
	return nil, nil
}

func (e *earlier) list(ctx context.Context) ([]store.Artifact, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listed {
		return e.local, nil
	}
	local, err := e.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing earlier artifacts: %w", err)
	}
	e.local, e.listed = local, true
	return local, nil
}

// closest picks the artifact with the most inputs in common; of several the one
// with the smallest key. Recipes that this program cannot read are skipped.
func closest(wanted recipe.Recipe, where string, artifacts []store.Artifact) *entry {
	var best *entry
	most := 0
	for _, artifact := range artifacts {
		if artifact.Asset != wanted.Asset || artifact.Arch != wanted.Arch {
			continue
		}
		parsed, err := recipe.Parse(artifact.Recipe)
		if err != nil {
			continue
		}
		common := recipe.Common(wanted, parsed)
		if best == nil || common > most || common == most && strings.Compare(artifact.Key, best.key) < 0 {
			best, most = &entry{artifact.Key, where, parsed}, common
		}
	}
	return best
}
