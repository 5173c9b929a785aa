package build

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Plan is what building some assets takes.
type Plan struct {
	Arch catalog.Arch
	// Names are the requested assets.
	Names []string
	// Steps are those of the assets and all their dependencies, by stage and name:
	// the order in which they are built.
	Steps []Step

	resolver recipe.Resolver
}

// Step returns the step of an asset of the plan.
func (p Plan) Step(asset string) Step {
	return p.Steps[slices.IndexFunc(p.Steps, func(s Step) bool { return s.Asset == asset })]
}

// Secrets returns the names of the secrets of all steps: a hit may be built again.
func (p Plan) Secrets() []string {
	var names []string
	for _, step := range p.Steps {
		for _, secret := range step.Resolved.Recipe.Secrets {
			names = append(names, secret.Name)
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
	// OutOfReach means that the lock lacks a version, or the hash or commit of a source, so
	// that nothing can be built.
	OutOfReach State = State(recipe.OutOfReach)
)

// Step is the work to do for one asset.
type Step struct {
	Asset string `json:"asset"`
	Arch  string `json:"arch"`
	// Origin says whether the asset is built or imported, or out of reach.
	Origin recipe.Origin `json:"origin"`
	// Key is "" where it is pending, or the lock lacks a version.
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
	// Differs are the pins that decide the build and whose values are not Kata's.
	Differs []versions.Difference `json:"differs"`
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

// PublicKeys returns the names of the secrets that are no secret: anybody can use their
// keys.
func (s Step) PublicKeys() (names []string) {
	for _, secret := range s.Resolved.Recipe.Secrets {
		if modsig.IsPublic(secret.Fingerprint) {
			names = append(names, secret.Name)
		}
	}
	return names
}

// Artifact returns the artifact of a hit.
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
	switch {
	case len(a.Places) == 0:
		return fmt.Sprintf("source %s cannot be used: it has no place of the name in --place", a.Source)
	case !a.Pinned:
		return fmt.Sprintf("source %s cannot be used: %s has no pinned hash or commit", a.Source, from)
	}
	return fmt.Sprintf("source %s is in no cache: it must come from %s, or be given with --source %s=PATH", a.Source, from, a.Source)
}

// Against is an artifact that a recipe is compared with.
type Against struct {
	Key   string `json:"key"`
	Where string `json:"where"`

	recipe recipe.Recipe
}

// Planner makes plans. It builds nothing, moves no artifact and starts no engine.
type Planner struct {
	Catalog  *catalog.Catalog
	Resolver recipe.Resolver
	Store    Store
	// Sources is asked for sources in its cache; nil leaves Step.Absent empty.
	Sources *source.Fetcher
	// Branches are the branches whose moving tags to look for, up to the first found.
	Branches []string
	Report   *progress.Reporter
}

// lookups is how many assets are looked up at once.
const lookups = 8

// Plan returns the plan of the named assets. It looks up the assets of one stage
// concurrently.
func (p *Planner) Plan(ctx context.Context, names []string, arch catalog.Arch) (Plan, error) {
	closure, err := p.Catalog.Closure(names, arch)
	if err != nil {
		return Plan{}, err
	}
	origins, err := p.Resolver.Origins(closure)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Arch: arch, Names: names, resolver: p.Resolver}
	found := map[string]recipe.Digests{} // of earlier stages
	for i, assets := range catalog.Stages(closure) {
		done := make([]Step, len(assets))
		err := p.each(ctx, done, func(ctx context.Context, j int) (err error) {
			done[j], err = p.step(ctx, assets[j], arch, found)
			done[j].Stage, done[j].Origin = i+1, origins[assets[j].Name]
			if done[j].Origin.How == recipe.OutOfReach && done[j].State != Hit {
				done[j].State = OutOfReach
			}
			return err
		})
		if err != nil {
			return Plan{}, err
		}
		for _, step := range done {
			if step.State == Hit {
				found[step.Asset] = Contents(step.artifact)
			}
		}
		plan.Steps = append(plan.Steps, done...)
	}
	return plan, p.explain(ctx, plan.Steps)
}

// each calls look for all steps, concurrently.
func (*Planner) each(ctx context.Context, steps []Step, look func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookups)
	for i := range steps {
		group.Go(func() error {
			if err := look(ctx, i); err != nil {
				return fmt.Errorf("planning %q: %w", steps[i].Asset, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// pending is, in a recipe, the digest of a dependency that must be built first.
const pending = "pending"

// step plans one asset; found are the digests of the dependencies that are hits.
func (p *Planner) step(ctx context.Context, asset catalog.Asset, arch catalog.Arch, found map[string]recipe.Digests) (Step, error) {
	step := Step{
		Asset: asset.Name, Arch: string(arch), declared: asset,
		PendingOn: []string{}, Changes: []recipe.Change{}, Absent: []Absent{}, Secrets: []string{},
		Dependencies: append([]string{}, slices.Sorted(slices.Values(asset.Dependencies))...),
	}
	digests := map[string]recipe.Digests{}
	for _, name := range step.Dependencies {
		of, hit := found[name]
		if !hit {
			of = recipe.Digests{Tarball: pending}
			step.PendingOn = append(step.PendingOn, name)
		}
		digests[name] = of
	}
	err := step.lookUp(ctx, p.Resolver, p.Store, digests)
	return step, err
}

// lookUp resolves the recipe of a step, whose dependencies have the given digests,
// and looks for its artifact.
func (s *Step) lookUp(ctx context.Context, resolver recipe.Resolver, from Store, digests map[string]recipe.Digests) (err error) {
	if s.Resolved, err = resolver.Resolve(s.declared, catalog.Arch(s.Arch), digests); err != nil {
		return err
	}
	s.Differs = s.Resolved.Differs
	switch {
	case len(s.Resolved.Unlocked) > 0:
		s.State = OutOfReach
		return nil
	case len(s.PendingOn) > 0:
		s.State = Pending
		return nil
	}
	s.Key = s.Resolved.Key
	artifact, where, err := from.Find(ctx, s.ref())
	switch {
	case store.IsNotFound(err):
		s.State = Miss
		return nil
	case err == nil:
		s.State, s.Where, s.Digest, s.Size = Hit, where, artifact.Digest, artifact.Size
		s.artifact, s.Against = artifact, &Against{Key: s.Key, Where: where}
	}
	return err
}

func (s Step) ref() store.Ref { return store.Ref{Asset: s.Asset, Arch: s.Arch, Key: s.Resolved.Key} }
