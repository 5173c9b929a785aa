package build

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Plan is what building some assets takes.
type Plan struct {
	Arch catalog.Arch
	// Names are the assets asked for.
	Names []string
	// Steps are those of the assets and all they depend on, by stage and name:
	// the order in which they are built.
	Steps []Step

	resolver recipe.Resolver
}

// Step returns the step of an asset of the plan.
func (p Plan) Step(asset string) Step {
	return p.Steps[slices.IndexFunc(p.Steps, func(s Step) bool { return s.Asset == asset })]
}

// Secrets returns the names of the secrets of all steps that are not hits.
func (p Plan) Secrets() []string {
	var names []string
	for _, step := range p.Steps {
		if step.State != Hit {
			names = append(names, step.Secrets...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// State is what there is to do for an asset.
type State string

const (
	// Hit means that an artifact of the asset's inputs exists.
	Hit State = "hit"
	// Miss means that all inputs are known and no artifact of them exists.
	Miss State = "build"
	// Pending means that the key depends on the results of earlier builds.
	Pending State = "pending"
)

// Step is what there is to do for one asset.
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
	// Stage counts from 1: the assets of a stage depend only on assets of earlier
	// stages.
	Stage        int      `json:"stage"`
	Dependencies []string `json:"dependencies"`
	// PendingOn are the dependencies that must be built first.
	PendingOn []string `json:"pendingOn"`
	// Against is the artifact that Changes compares with; nil where there is none.
	// A hit is compared with itself.
	Against *Against `json:"against"`
	// Changes are those of the inputs, without the results of dependencies that
	// must be built first.
	Changes []recipe.Change `json:"changes"`
	// Why is the reason for a build in words; "" for a hit.
	Why string `json:"why"`
	// Absent are the sources that no cache has; none for a hit.
	Absent []Absent `json:"absentSources"`
	// Secrets are the names of those that a build needs, Disk is the free space
	// that it needs, in bytes.
	Secrets []string `json:"secrets"`
	Disk    int64    `json:"disk"`
	// Resolved holds the inputs; the digests of dependencies that must be built
	// first are "pending".
	Resolved recipe.Plan `json:"-"`

	declared catalog.Asset
	// artifact is that of a hit.
	artifact store.Artifact
}

// Artifact returns that of a hit.
func (s Step) Artifact() store.Artifact { return s.artifact }

// Absent is a source that a build has to fetch from one of its places.
type Absent struct {
	Source string `json:"source"`
	// Places say where it can come from; with Pinned false none of them has a
	// hash or commit, so that none can be used.
	Places []string `json:"places"`
	Pinned bool     `json:"pinned"`
}

// String says what a build would have to fetch.
func (a Absent) String() string {
	from := strings.Join(a.Places, " or ")
	if !a.Pinned {
		return fmt.Sprintf("source %s cannot be used: %s has no pinned commit", a.Source, from)
	}
	return fmt.Sprintf("source %s is in no cache: it must come from %s, or be given with --source %s=PATH", a.Source, from, a.Source)
}

// Against is an artifact that a recipe is compared with.
type Against struct {
	Key   string `json:"key"`
	Where string `json:"where"`
}

// Planner makes plans. It builds nothing, moves no artifact and starts no engine.
type Planner struct {
	Catalog  *catalog.Catalog
	Resolver recipe.Resolver
	Store    Store
	// Sources is asked for sources in its cache; nil leaves Step.Absent empty.
	Sources *source.Fetcher
	// Branches are those whose moving tags are read, the first that has one.
	Branches []string
	Report   *progress.Reporter
}

// lookups is how many assets are looked up at once.
const lookups = 8

// Plan returns the plan of the named assets. Everything of one stage is looked
// up side by side.
func (p *Planner) Plan(ctx context.Context, names []string, arch catalog.Arch) (Plan, error) {
	closure, err := p.Catalog.Closure(names, arch)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Arch: arch, Names: names, resolver: p.Resolver}
	run := &planning{Planner: p, arch: arch, found: map[string]recipe.Digests{}}
	for i, assets := range stages(closure) {
		done := make([]Step, len(assets))
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(lookups)
		for j, asset := range assets {
			group.Go(func() (err error) {
				if done[j], err = run.step(ctx, asset); err != nil {
					return fmt.Errorf("planning %q: %w", asset.Name, err)
				}
				done[j].Stage = i + 1
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return Plan{}, err
		}
		for _, step := range done {
			if step.State == Hit {
				run.found[step.Asset] = Contents(step.artifact)
			}
		}
		plan.Steps = append(plan.Steps, done...)
	}
	return plan, nil
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

// planning is one run of a Planner. What was found of earlier stages does not
// change while a stage is looked up.
type planning struct {
	*Planner
	arch    catalog.Arch
	earlier earlier
	found   map[string]recipe.Digests
}

// pending replaces the digest of what must be built first in a recipe.
const pending = "pending"

// step plans one asset.
func (p *planning) step(ctx context.Context, asset catalog.Asset) (Step, error) {
	step := Step{
		Asset: asset.Name, Arch: string(p.arch), State: Miss, declared: asset,
		PendingOn: []string{}, Changes: []recipe.Change{}, Absent: []Absent{}, Secrets: []string{},
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
	var err error
	if step.Resolved, err = p.Resolver.Resolve(asset, p.arch, digests); err != nil {
		return step, err
	}
	if len(step.PendingOn) > 0 {
		step.State = Pending
		return step, p.miss(ctx, &step)
	}
	step.Key = step.Resolved.Key
	artifact, where, err := p.Store.Find(ctx, step.ref())
	if store.IsNotFound(err) {
		return step, p.miss(ctx, &step)
	}
	step.State, step.Where, step.Digest, step.Size = Hit, where, artifact.Digest, artifact.Size
	step.artifact, step.Against = artifact, &Against{Key: step.Key, Where: where}
	return step, err
}

func (s Step) ref() store.Ref { return store.Ref{Asset: s.Asset, Arch: s.Arch, Key: s.Resolved.Key} }

// miss adds to a step why it is to be built, and what a build needs.
func (p *planning) miss(ctx context.Context, step *Step) error {
	step.Disk = step.Resolved.Disk
	for _, secret := range step.Resolved.Recipe.Secrets {
		step.Secrets = append(step.Secrets, secret.Name)
	}
	if err := p.explain(ctx, step); err != nil || p.Sources == nil {
		return err
	}
	for _, declared := range step.Resolved.Sources {
		absent := Absent{Source: declared.Name}
		_, cached := p.Sources.Local[declared.Name]
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
			absent.Pinned = absent.Pinned || place.Git == nil || place.Git.Ref == ""
		}
		if !cached {
			step.Absent = append(step.Absent, absent)
		}
	}
	return nil
}
