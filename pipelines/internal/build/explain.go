package build

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// explain adds to each step that is not a hit why it is built, and what a build needs.
func (p *Planner) explain(ctx context.Context, steps []Step) error {
	if !slices.ContainsFunc(steps, func(s Step) bool { return s.State != Hit }) {
		return nil
	}
	local, err := p.Store.List(ctx)
	if err != nil {
		return fmt.Errorf("listing earlier artifacts: %w", err)
	}
	return p.each(ctx, steps, func(ctx context.Context, i int) (err error) {
		step := &steps[i]
		if step.State == Hit {
			return nil
		}
		wanted := step.Resolved.Recipe
		step.Disk = step.Resolved.Disk
		for _, secret := range wanted.Secrets {
			step.Secrets = append(step.Secrets, secret.Name)
		}
		if step.Against, err = p.nearest(ctx, wanted, local); err != nil {
			return err
		}
		if step.Against != nil {
			before := step.Against.recipe
			step.Changes = append(step.Changes, recipe.Diff(before, assume(wanted, before))...)
		}
		step.Why = step.why()
		if len(step.Resolved.Unlocked) > 0 {
			return nil
		}
		return p.sources(ctx, step)
	})
}

// sources adds to a step the sources that no cache has.
func (p *Planner) sources(ctx context.Context, step *Step) error {
	if p.Sources == nil {
		return nil
	}
	for _, declared := range step.Resolved.Sources {
		absent := Absent{Source: declared.Name}
		_, cached := p.Sources.Local[declared.Name]
		cached = cached || step.Resolved.Given.Path != ""
		for _, place := range declared.Places {
			if p.Sources.Place != "" && p.Sources.Place != place.Name {
				continue
			}
			// A Go module is in Go's own cache or comes from a proxy, as for any Go
			// program: that needs no lookup.
			cached = cached || place.Go != nil
			if !cached {
				state, err := p.Sources.Has(ctx, place)
				if cached = state.Cached; err == nil && !cached && place.Cacheable() {
					cached, err = p.Store.HasSource(ctx, place.Hash())
				}
				if err != nil {
					return fmt.Errorf("looking for source %q: %w", declared.Name, err)
				}
			}
			absent.Places = append(absent.Places, place.Holds())
			absent.Pinned = absent.Pinned || place.Pinned()
		}
		if !cached {
			step.Absent = append(step.Absent, absent)
		}
	}
	return nil
}

// assume returns a recipe in which the dependencies that must be built first have
// their earlier digests.
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
	case s.State == OutOfReach:
		return cmp.Or(strings.Join(s.Resolved.Unlocked, "; "), s.Origin.Why)
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

// nearest returns the artifact of the same asset and architecture that shares the
// most inputs with a recipe: a local one or, if there is none, that of the registry's
// moving tags. It returns nil if neither exists.
func (p *Planner) nearest(ctx context.Context, wanted recipe.Recipe, local []store.Artifact) (*Against, error) {
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
		// The plan is correct without the comparison.
		p.Report.Note("plan", fmt.Sprintf("comparing %s with the registry: %v", wanted.Asset, err))
	}
	return nil, nil
}

// closest picks the artifact with the most inputs in common, of several the one with
// the smallest key. Recipes that this program cannot read are skipped.
func closest(wanted recipe.Recipe, where string, artifacts []store.Artifact) *Against {
	var best *Against
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
		if best == nil || common > most || common == most && artifact.Key < best.Key {
			best, most = &Against{artifact.Key, where, parsed}, common
		}
	}
	return best
}
