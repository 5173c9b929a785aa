package build

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// stored returns the artifact of walls in a tree where walls has these options.
func stored(t *testing.T, options string, arch catalog.Arch) store.Artifact {
	t.Helper()
	planner := newShelf().planner(t, strings.Replace(town, `{COLOUR: red, HEIGHT: "3"}`, options, 1))
	asset, err := planner.Catalog.Find("walls", arch)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planner.Resolver.Resolve(asset, arch, nil)
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := plan.Recipe.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return store.Artifact{Ref: store.Ref{Asset: "walls", Arch: string(arch), Key: plan.Key}, Recipe: canonical}
}

// listing is a shelf whose local tier has some artifacts and finds none.
type listing struct {
	*shelf
	local []store.Artifact
}

func (l listing) List(context.Context) ([]store.Artifact, error) { return l.local, nil }

func TestNearest(t *testing.T) {
	near := stored(t, `{COLOUR: blue, HEIGHT: "3"}`, catalog.X86_64)
	far := stored(t, `{COLOUR: blue, HEIGHT: "4"}`, catalog.X86_64)
	alsoNear := stored(t, `{COLOUR: red, HEIGHT: "4"}`, catalog.X86_64)
	other := stored(t, `{COLOUR: red, HEIGHT: "3"}`, catalog.AArch64)
	unreadable, later := near, near
	unreadable.Recipe = []byte(`{"schema":1,`)
	later.Recipe = bytes.Replace(near.Recipe, []byte(`"schema":`), []byte(`"schema":9`), 1)
	smaller := near
	if alsoNear.Key < near.Key {
		smaller = alsoNear
	}
	const blue, tall = "option COLOUR blue -> red", "option HEIGHT 4 -> 3"
	told := map[string]string{near.Key: blue, alsoNear.Key: tall}
	tag := "walls " + store.MovingTag("latest", "main", "x86_64")

	for name, test := range map[string]struct {
		local  []store.Artifact
		latest *store.Artifact
		want   Against
		why    string
	}{
		"none":                        {why: "no earlier artifact of walls on x86_64"},
		"the one with most in common": {local: []store.Artifact{far, near}, want: Against{Key: near.Key, Where: "local"}, why: blue},
		"of two the smaller key":      {local: []store.Artifact{far, near, alsoNear}, want: Against{Key: smaller.Key, Where: "local"}, why: told[smaller.Key]},
		"of the same architecture":    {local: []store.Artifact{other, far}, want: Against{Key: far.Key, Where: "local"}, why: blue + ", " + tall},
		"of no other one":             {local: []store.Artifact{other}, why: "no earlier artifact of walls on x86_64"},
		"local first":                 {local: []store.Artifact{far}, latest: &near, want: Against{Key: far.Key, Where: "local"}, why: blue + ", " + tall},
		"then the registry":           {local: []store.Artifact{other}, latest: &near, want: Against{Key: near.Key, Where: "registry"}, why: blue},
		"what cannot be read is not":  {local: []store.Artifact{unreadable, later, far}, want: Against{Key: far.Key, Where: "local"}, why: blue + ", " + tall},
		"not in the registry either":  {local: []store.Artifact{unreadable}, latest: &later, why: "no earlier artifact of walls on x86_64"},
		"a tag of something else":     {latest: &other, why: "no earlier artifact of walls on x86_64"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				s := newShelf()
				if test.latest != nil {
					s.latest[tag] = *test.latest
				}
				planner := s.planner(t, town)
				planner.Store = listing{s, test.local}
				plan, err := planner.Plan(t.Context(), []string{"walls"}, catalog.X86_64)
				if err != nil {
					t.Fatal(err)
				}
				step := plan.Steps[0]
				var got Against
				if step.Against != nil {
					got = Against{Key: step.Against.Key, Where: step.Against.Where}
				}
				if got.Key != test.want.Key || got.Where != test.want.Where {
					t.Errorf("against %s of %s, want %s of %s", got.Key, got.Where, test.want.Key, test.want.Where)
				}
				if step.Why != test.why {
					t.Errorf("why is %q, want %q", step.Why, test.why)
				}
				slices.Reverse(test.local)
			}
		})
	}
}

// TestNewDependency: a new dependency and a removed one are changes of the asset
// itself, whatever they contain.
func TestNewDependency(t *testing.T) {
	s := newShelf()
	s.fill(t, s.local, town, nil)
	assets := strings.NewReplacer("[walls, beams]", "[walls, shed]", "COLOUR: red", "COLOUR: blue", "shed, description: d,", "shed, description: d, disk: 1, options: {A: b},").Replace(town)
	step := s.plan(t, assets, "roof")[2]
	if want := "shed, walls must be built first; dependency beams removed, dependency shed added"; step.Why != want {
		t.Errorf("why is %q, want %q", step.Why, want)
	}
}
