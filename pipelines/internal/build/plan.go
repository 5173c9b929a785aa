package build

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// State says what is to be done for an asset.
type State string

const (
	// Hit means that an artifact of the asset's inputs is there.
	Hit State = "hit"
	// Miss means that all inputs are known and no artifact of them is there.
	Miss State = "build"
	// Pending means that the key depends on what builds that come first give.
	Pending State = "pending"
)

// Step is what is to be done for one asset.
type Step struct {
	Asset string `json:"asset"`
	Arch  string `json:"arch"`
	// Key is "" where it is pending.
	Key   string `json:"key"`
	State State  `json:"state"`
	// Where is the place of a hit, as store.Tiered names it. Digest is that of its
	// tarball, "sha256:<hex>", Size its length in bytes.
	Where  string `json:"where"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Stage counts from 1: the assets of one stage do not depend on each other,
	// but on such of the stages before alone.
	Stage        int      `json:"stage"`
	Dependencies []string `json:"dependencies"`
	// PendingOn are the dependencies that must be built first.
	PendingOn []string `json:"pendingOn"`
	// Against is the artifact that Changes compares with; nil where there is none.
	// A hit stands against itself.
	Against *Against `json:"against"`
	// Changes are those of the inputs. What dependencies that must be built first
	// will give is left out.
	Changes []recipe.Change `json:"changes"`
	// Why says in words why there is something to do; "" for a hit.
	Why string `json:"why"`
	// Absent are the sources that no cache has, where there is something to do.
	Absent []Absent `json:"absentSources"`
	// Recipe holds the inputs; the digests of dependencies that must be built
	// first are "pending".
	Recipe recipe.Recipe `json:"-"`
}

// Absent is a source that a build would have to ask its places for.
type Absent struct {
	Source string `json:"source"`
	// Places say where it can come from; with Pinned false none of them can be
	// used, because nobody has written down what they should give.
	Places []string `json:"places"`
	Pinned bool     `json:"pinned"`
}

// Against is an artifact that a recipe is compared with.
type Against struct {
	Key   string `json:"key"`
	Where string `json:"where"`
}

// Planner finds out what building assets would do. It builds nothing, moves no
// artifact and starts no engine.
type Planner struct {
	Catalog  *catalog.Catalog
	Resolver recipe.Resolver
	// Find looks an artifact up and says where it is, as store.Tiered.Find does.
	Find func(ctx context.Context, ref store.Ref) (artifact store.Artifact, where string, err error)
	// List returns the artifacts of the local store with their recipes.
	List func(ctx context.Context) ([]store.Artifact, error)
	// Latest returns what a moving tag of an asset in the registry points at,
	// with its recipe; nil where there is no registry.
	Latest func(ctx context.Context, asset, tag string) (store.Artifact, error)
	// Cached says whether a cache has the file of a place, nil that nobody asks.
	Cached func(ctx context.Context, place versions.Place) (bool, error)
	// Branch is the one whose moving tags are read.
	Branch string
	// Note gets warnings, from several goroutines at once.
	Note func(text string)
}

// lookups is how many assets are looked up at once.
const lookups = 8

// Plan returns a step for each of the named assets and all they depend on, by
// stage and name. Everything of one stage is looked up side by side.
func (p *Planner) Plan(ctx context.Context, names []string, arch catalog.Arch) ([]Step, error) {
	closure, err := p.Catalog.Closure(names, arch)
	if err != nil {
		return nil, err
	}
	run := &planning{Planner: p, arch: arch, earlier: earlier{Planner: p}, found: map[string]recipe.Digests{}}
	var steps []Step
	for i, assets := range stages(closure) {
		done := make([]Step, len(assets))
		found := make([]store.Artifact, len(assets))
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(lookups)
		for j, asset := range assets {
			group.Go(func() (err error) {
				if done[j], found[j], err = run.step(ctx, asset); err != nil {
					return fmt.Errorf("planning %q: %w", asset.Name, err)
				}
				done[j].Stage = i + 1
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		for j, step := range done {
			if step.State == Hit {
				run.found[step.Asset] = Contents(found[j])
			}
		}
		steps = append(steps, done...)
	}
	return steps, nil
}

// stages sorts assets, of which dependencies come first, into stages by name.
func stages(closure []catalog.Asset) [][]catalog.Asset {
	var sorted [][]catalog.Asset
	stage := map[string]int{}
	for _, asset := range closure {
		for _, name := range asset.Dependencies {
			stage[asset.Name] = max(stage[asset.Name], stage[name]+1)
		}
		at := stage[asset.Name]
		for len(sorted) <= at {
			sorted = append(sorted, nil)
		}
		sorted[at] = append(sorted[at], asset)
	}
	for _, assets := range sorted {
		slices.SortFunc(assets, func(a, b catalog.Asset) int { return strings.Compare(a.Name, b.Name) })
	}
	return sorted
}

// planning is one run of a Planner. What was found of the stages before is not
// written to while a stage is looked up.
type planning struct {
	*Planner
	arch    catalog.Arch
	earlier earlier
	found   map[string]recipe.Digests
}

// pending stands in a recipe for the digest of what must be built first.
const pending = "pending"

// step plans one asset; for a hit it returns the artifact too.
func (p *planning) step(ctx context.Context, asset catalog.Asset) (Step, store.Artifact, error) {
	step := Step{
		Asset: asset.Name, Arch: string(p.arch), State: Miss, PendingOn: []string{}, Changes: []recipe.Change{}, Absent: []Absent{},
		Dependencies: append([]string{}, slices.Sorted(slices.Values(asset.Dependencies))...),
	}
	digests := map[string]recipe.Digests{}
	for _, name := range step.Dependencies {
		found, ok := p.found[name]
		if !ok {
			found = recipe.Digests{Tarball: pending}
			step.PendingOn = append(step.PendingOn, name)
		}
		digests[name] = found
	}
	plan, err := p.Resolver.Resolve(asset, p.arch, digests)
	if err != nil {
		return step, store.Artifact{}, err
	}
	step.Recipe = plan.Recipe
	if len(step.PendingOn) > 0 {
		step.State = Pending
		return step, store.Artifact{}, p.todo(ctx, &step, plan)
	}
	step.Key = plan.Key
	artifact, where, err := p.Find(ctx, store.Ref{Asset: step.Asset, Arch: step.Arch, Key: step.Key})
	switch {
	case store.IsNotFound(err):
		return step, artifact, p.todo(ctx, &step, plan)
	case err != nil:
		return step, artifact, err
	}
	step.State, step.Where, step.Digest, step.Size = Hit, where, artifact.Digest, artifact.Size
	step.Against = &Against{Key: step.Key, Where: where}
	return step, artifact, nil
}

// todo says why there is something to do, and what of it is not at hand.
func (p *planning) todo(ctx context.Context, step *Step, plan recipe.Plan) error {
	if err := p.explain(ctx, step); err != nil || p.Cached == nil {
		return err
	}
	for _, source := range plan.Sources {
		absent := Absent{Source: source.Name}
		cached := false
		for _, place := range source.Places {
			has, err := p.Cached(ctx, place)
			if err != nil {
				return fmt.Errorf("looking for source %q: %w", source.Name, err)
			}
			cached = cached || has
			absent.Places = append(absent.Places, place.Holds())
			absent.Pinned = absent.Pinned || place.Git == nil || place.Git.Ref == ""
		}
		if !cached {
			step.Absent = append(step.Absent, absent)
		}
	}
	return nil
}

// explain compares a step with the nearest artifact and says why.
func (p *planning) explain(ctx context.Context, step *Step) error {
	nearest, err := p.earlier.nearest(ctx, step.Recipe)
	if err != nil {
		return err
	}
	if nearest != nil {
		step.Against = &Against{Key: nearest.key, Where: nearest.where}
		step.Changes = append(step.Changes, recipe.Diff(nearest.recipe, assume(step.Recipe, nearest.recipe))...)
	}
	step.Why = step.why()
	return nil
}

// assume returns a recipe in which the dependencies that must be built first
// give what they gave before.
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
