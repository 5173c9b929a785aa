package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// town has three stages, and one house without neighbours. The names do not
// sort as the stages do.
const town = `family: house
builder:
  distribution: debian
  suite: trixie
  image: debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  epoch: 1
  packages: [make]
steps:
  - name: build
    script: build.sh
assets:
  - {name: walls, description: d, arches: [x86_64, aarch64], options: {COLOUR: red, HEIGHT: "3"}}
  - {name: beams, description: d, arches: [x86_64]}
  - {name: roof, description: d, arches: [x86_64], options: {SLOPE: "1"}, dependencies: [walls, beams]}
  - {name: attic, description: d, arches: [x86_64], dependencies: [roof]}
  - {name: shed, description: d, arches: [x86_64]}
`

// shelf is a test double of both tiers of a store, as far as plans need it.
type shelf struct {
	Store

	local, registry map[store.Ref]store.Artifact
	// latest is by asset and tag.
	latest map[string]store.Artifact
	err    error

	mu    sync.Mutex
	asked []string
	notes strings.Builder
}

func newShelf() *shelf {
	return &shelf{local: map[store.Ref]store.Artifact{}, registry: map[store.Ref]store.Artifact{}, latest: map[string]store.Artifact{}}
}

func (s *shelf) Find(_ context.Context, ref store.Ref) (store.Artifact, string, error) {
	if artifact, ok := s.local[ref]; ok {
		return artifact, "local", nil
	}
	if artifact, ok := s.registry[ref]; ok {
		// As in a registry, only the manifest is read.
		artifact.Recipe = nil
		return artifact, "registry", nil
	}
	return store.Artifact{}, "", fmt.Errorf("%s: %w", ref.Asset, store.ErrNotFound)
}

func (s *shelf) List(context.Context) ([]store.Artifact, error) {
	s.ask("list")
	var all []store.Artifact
	for _, artifact := range s.local {
		all = append(all, artifact)
	}
	return all, nil
}

func (s *shelf) Latest(_ context.Context, asset string, tags ...string) (store.Artifact, error) {
	tag := tags[0]
	s.ask(asset + " " + tag)
	if s.err != nil {
		return store.Artifact{}, s.err
	}
	if artifact, ok := s.latest[asset+" "+tag]; ok {
		return artifact, nil
	}
	return store.Artifact{}, fmt.Errorf("%s: %w", tag, store.ErrNotFound)
}

func (s *shelf) ask(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, what)
}

// planner returns one over the shelf, for a tree with these assets.
func (s *shelf) planner(t *testing.T, assets string) *Planner {
	t.Helper()
	h := setUp(t, t.TempDir(), assets)
	report := progress.New(&s.notes, progress.Plain, nil)
	t.Cleanup(report.Close)
	return &Planner{Catalog: h.Catalog, Resolver: h.Resolver, Store: s, Branches: []string{"main"}, Report: report}
}

// fill puts artifacts of all the assets of a tree, on x86_64, into a tier. The tarball
// and outputs of an asset contain its name, unless contents say otherwise.
func (s *shelf) fill(t *testing.T, tier map[store.Ref]store.Artifact, assets string, given map[string]string) {
	t.Helper()
	planner := s.planner(t, assets)
	closure, err := planner.Catalog.Closure(planner.Catalog.Names(), catalog.X86_64)
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]recipe.Digests{}
	for _, asset := range closure {
		plan, err := planner.Resolver.Resolve(asset, catalog.X86_64, digests)
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := plan.Recipe.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		artifact := store.Artifact{
			Ref:    store.Ref{Asset: asset.Name, Arch: "x86_64", Key: plan.Key},
			Digest: hash(asset.Name, given), Size: int64(len(asset.Name)), Recipe: canonical,
		}
		for _, output := range asset.Outputs {
			artifact.Outputs = append(artifact.Outputs, store.Output{Name: output, Digest: hash(asset.Name+"-"+output, given)})
		}
		tier[artifact.Ref] = artifact
		s.latest[asset.Name+" "+store.MovingTag("latest", "main", "x86_64")] = artifact
		digests[asset.Name] = Contents(artifact)
	}
}

func hash(name string, given map[string]string) string {
	content := name
	if text, ok := given[name]; ok {
		content = text
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
}
