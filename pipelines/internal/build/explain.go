package build

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// explain compares a step with the nearest artifact and says why it is built.
func (p *planning) explain(ctx context.Context, step *Step) error {
	nearest, err := p.nearest(ctx, step.Resolved.Recipe)
	if err != nil {
		return err
	}
	if nearest != nil {
		after := assume(step.Resolved.Recipe, nearest.recipe)
		step.Against = &Against{Key: nearest.key, Where: nearest.where}
		step.Changes = append(step.Changes, recipe.Diff(nearest.recipe, after)...)
	}
	step.Why = step.why()
	return nil
}

// assume returns a recipe in which the dependencies that must be built first
// have the digests that they had before.
func assume(after, before recipe.Recipe) recipe.Recipe {
	after.Dependencies = slices.Clone(after.Dependencies)
	for i, dependency := range after.Dependencies {
		if dependency.Digest != pending {
			continue
		}
		at := slices.IndexFunc(before.Dependencies, func(d recipe.Dependency) bool { return d.Asset == dependency.Asset })
		if at >= 0 {
			after.Dependencies[i] = before.Dependencies[at]
		}
	}
	return after
}

// shownChanges is how many changes Why names.
const shownChanges = 3

func (s Step) why() string {
	var changes []string
	for _, change := range s.Changes[:min(len(s.Changes), shownChanges)] {
		changes = append(changes, change.String())
	}
	text := strings.Join(changes, ", ")
	if more := len(s.Changes) - shownChanges; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	switch {
	case s.State == Pending && text != "":
		return fmt.Sprintf("%s must be built first; %s", strings.Join(s.PendingOn, ", "), text)
	case s.State == Pending:
		return strings.Join(s.PendingOn, ", ") + " must be built first"
	case s.Against == nil:
		return fmt.Sprintf("no earlier artifact of %s on %s", s.Asset, s.Arch)
	case text == "":
		return fmt.Sprintf("nothing changed, but the artifact of these inputs (%s) is not to be used", s.Against.Where)
	}
	return text
}

// entry is an artifact whose recipe this program can read.
type entry struct {
	key, where string
	recipe     recipe.Recipe
}

// earlier holds the artifacts of the local store, listed when first needed.
type earlier struct {
	mu     sync.Mutex
	listed bool
	local  []store.Artifact
}

// nearest returns the artifact of the same asset and arch that shares most
// inputs with a recipe, or nil: of the local store, or, where that has none,
// the one of the registry's moving tags.
func (p *planning) nearest(ctx context.Context, wanted recipe.Recipe) (*entry, error) {
	local, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	if best := closest(wanted, store.InLocal, local); best != nil || len(p.Branches) == 0 {
		return best, nil
	}
	var tags []string
	for _, branch := range p.Branches {
		tags = append(tags, store.MovingTag("latest", branch, wanted.Arch))
	}
	latest, err := p.Store.Latest(ctx, wanted.Asset, tags...)
	switch {
	case err == nil:
		return closest(wanted, store.InRegistry, []store.Artifact{latest}), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !store.IsNotFound(err):
		// The plan is right without the comparison.
		p.Report.Note("plan", fmt.Sprintf("comparing %s with the registry: %v", wanted.Asset, err))
	}
	return nil, nil
}

func (p *planning) list(ctx context.Context) ([]store.Artifact, error) {
	p.earlier.mu.Lock()
	defer p.earlier.mu.Unlock()
	if p.earlier.listed {
		return p.earlier.local, nil
	}
	local, err := p.Store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing earlier artifacts: %w", err)
	}
	p.earlier.local, p.earlier.listed = local, true
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
