package build

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// told formats steps, one a line.
func told(steps []Step) []string {
	var lines []string
	for _, s := range steps {
		line := fmt.Sprintf("%d %s %s", s.Stage, s.Asset, s.State)
		if s.State == Hit {
			line += fmt.Sprintf(" %s %d", s.Where, s.Size)
		}
		if s.Why != "" {
			line += ": " + s.Why
		}
		lines = append(lines, line)
	}
	return lines
}

func (s *shelf) plan(t *testing.T, assets string, names ...string) []Step {
	t.Helper()
	planner := s.planner(t, assets)
	if len(names) == 0 {
		names = planner.Catalog.Names()
	}
	plan, err := planner.Plan(t.Context(), names, catalog.X86_64)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Steps
}

func TestPlan(t *testing.T) {
	local := func(s *shelf) map[store.Ref]store.Artifact { return s.local }
	registry := func(s *shelf) map[store.Ref]store.Artifact { return s.registry }
	type filling struct {
		tier   func(*shelf) map[store.Ref]store.Artifact
		assets string
		given  map[string]string
	}
	blue := strings.Replace(town, "COLOUR: red", "COLOUR: blue", 1)
	changed := strings.NewReplacer("COLOUR: red", "COLOUR: blue", `HEIGHT: "3"`, `HEIGHT: "4", DEPTH: "1"`, "SLOPE: \"1\"", "SLOPE: \"2\"", "make]", "gcc, make]").Replace(town)
	modules := strings.Replace(town, "name: beams,", "name: beams, outputs: [nails],", 1)
	for name, test := range map[string]struct {
		fill   []filling
		assets string
		names  []string
		want   []string
	}{
		"nothing is there": {assets: town, want: []string{
			"1 beams build: no earlier artifact of beams on x86_64",
			"1 shed build: no earlier artifact of shed on x86_64",
			"1 walls build: no earlier artifact of walls on x86_64",
			"2 roof pending: beams, walls must be built first",
			"3 attic pending: roof must be built first",
		}},
		"everything is there": {
			fill: []filling{{local, town, nil}}, assets: town,
			want: []string{"1 beams hit local 5", "1 shed hit local 4", "1 walls hit local 5", "2 roof hit local 4", "3 attic hit local 5"},
		},
		"everything is in the registry": {
			fill: []filling{{registry, town, nil}}, assets: town,
			want: []string{"1 beams hit registry 5", "1 shed hit registry 4", "1 walls hit registry 5", "2 roof hit registry 4", "3 attic hit registry 5"},
		},
		"of one the dependencies alone": {
			fill: []filling{{local, town, nil}}, assets: town, names: []string{"roof"},
			want: []string{"1 beams hit local 5", "1 walls hit local 5", "2 roof hit local 4"},
		},
		"a change takes with it what comes after": {
			fill: []filling{{local, town, nil}}, assets: blue,
			want: []string{
				"1 beams hit local 5", "1 shed hit local 4", "1 walls build: option COLOUR red -> blue",
				"2 roof pending: walls must be built first", "3 attic pending: roof must be built first",
			},
		},
		"an output that did not change stops the rebuild": {
			fill: []filling{{local, town, nil}, {registry, blue, nil}}, assets: blue,
			want: []string{"1 beams hit local 5", "1 shed hit local 4", "1 walls hit registry 5", "2 roof hit local 4", "3 attic hit local 5"},
		},
		"an output that changed does not": {
			fill: []filling{{local, town, nil}, {registry, strings.Split(blue, "  - {name: roof")[0], map[string]string{"walls": "blue walls"}}}, assets: blue,
			want: []string{
				"1 beams hit local 5", "1 shed hit local 4", "1 walls hit registry 5",
				"2 roof build: dependency walls " + hash("walls", nil)[:19] + " -> " + fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("blue walls")))[:19],
				"3 attic pending: roof must be built first",
			},
		},
		"nor does a secondary one": {
			fill: []filling{
				{local, modules, nil},
				{local, strings.Split(strings.Replace(modules, "name: beams,", `name: beams, options: {A: "1"},`, 1), "  - {name: roof")[0], map[string]string{"beams-nails": "nails"}},
			},
			assets: strings.Replace(modules, "name: beams,", `name: beams, options: {A: "1"},`, 1), names: []string{"roof"},
			want: []string{
				"1 beams hit local 5", "1 walls hit local 5",
				"2 roof build: dependency beams nails " + hash("beams-nails", nil)[:19] + " -> " + hash("nails", nil)[:19],
			},
		},
		"changes are counted, and those of its own told of what is pending": {
			fill: []filling{{registry, town, nil}}, assets: changed, names: []string{"roof"},
			want: []string{
				"1 beams build: package gcc added",
				"1 walls build: option COLOUR red -> blue, option DEPTH added, option HEIGHT 3 -> 4 and 1 more",
				"2 roof pending: beams, walls must be built first; option SLOPE 1 -> 2, package gcc added",
			},
		},
		"what was lost is not what changed": {
			fill: []filling{{local, strings.Split(town, "  - {name: roof")[0], nil}}, assets: town, names: []string{"roof"},
			want: []string{"1 beams hit local 5", "1 walls hit local 5", "2 roof build: no earlier artifact of roof on x86_64"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf()
			for _, f := range test.fill {
				s.fill(t, f.tier(s), f.assets, f.given)
			}
			steps := s.plan(t, test.assets, test.names...)
			if diff := cmp.Diff(test.want, told(steps)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			checkSteps(t, steps)
		})
	}
}

// checkSteps checks the invariants of the steps of every plan.
func checkSteps(t *testing.T, steps []Step) {
	t.Helper()
	at := map[string]Step{}
	for _, s := range steps {
		for _, name := range s.Dependencies {
			if before, ok := at[name]; !ok || before.Stage >= s.Stage {
				t.Errorf("%s of stage %d comes before its dependency %s", s.Asset, s.Stage, name)
			} else if (before.State != Hit) != slices.Contains(s.PendingOn, name) {
				t.Errorf("%s is pending on %v, and %s is %s", s.Asset, s.PendingOn, name, before.State)
			}
		}
		if (s.State == Pending) != (len(s.PendingOn) > 0) || (s.State == Pending) != (s.Key == "") {
			t.Errorf("%s is %s, pending on %v, key %q", s.Asset, s.State, s.PendingOn, s.Key)
		}
		if (s.State == Hit) != (s.Why == "") || (s.State == Hit) != (s.Digest != "") {
			t.Errorf("%s is %s, digest %q: %q", s.Asset, s.State, s.Digest, s.Why)
		}
		if data, err := json.Marshal(s); err != nil || strings.Contains(strings.ReplaceAll(string(data), `"against":null`, ""), "null") {
			t.Errorf("a list is null, or %v: %s", err, data)
		}
		at[s.Asset] = s
	}
}

// TestPlanAsksLittle: hits are not compared; the registry is asked only if the local
// store has nothing to compare with; the store is listed once.
func TestPlanAsksLittle(t *testing.T) {
	s := newShelf()
	s.fill(t, s.local, town, nil)
	s.plan(t, town)
	if len(s.asked) > 0 {
		t.Errorf("a plan of hits calls %v", s.asked)
	}
	s.plan(t, strings.Replace(town, "epoch: 1", "epoch: 2", 1))
	if diff := cmp.Diff([]string{"list"}, s.asked); diff != "" {
		t.Errorf("with earlier artifacts at hand (-want +got)\n%s", diff)
	}
	s = newShelf()
	s.plan(t, town, "walls")
	if diff := cmp.Diff([]string{"list", "walls latest-main-x86_64"}, s.asked); diff != "" {
		t.Errorf("with nothing at hand (-want +got)\n%s", diff)
	}
}

// TestPlanWithoutCache plans as with USE_CACHE=no: no artifact is found, although it
// exists.
func TestPlanWithoutCache(t *testing.T) {
	s := newShelf()
	s.fill(t, s.local, town, nil)
	planner := s.planner(t, town)
	planner.Store = blind{s}
	plan, err := planner.Plan(t.Context(), []string{"roof"}, catalog.X86_64)
	if err != nil {
		t.Fatal(err)
	}
	const unused = " build: nothing changed, but the artifact of these inputs (local) is not to be used"
	want := []string{"1 beams" + unused, "1 walls" + unused, "2 roof pending: beams, walls must be built first"}
	if diff := cmp.Diff(want, told(plan.Steps)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// blind finds nothing, broken fails.
type blind struct{ *shelf }

func (blind) Find(context.Context, store.Ref) (store.Artifact, string, error) {
	return store.Artifact{}, "", store.ErrNotFound
}

type broken struct {
	*shelf
	find, list error
}

func (b broken) Find(ctx context.Context, ref store.Ref) (store.Artifact, string, error) {
	if b.find != nil {
		return store.Artifact{}, "", b.find
	}
	return b.shelf.Find(ctx, ref)
}

func (b broken) List(context.Context) ([]store.Artifact, error) { return nil, b.list }

// A hit that is built again, to compare, needs its secrets too.
func TestSecretsOfAPlan(t *testing.T) {
	signed := func(names ...string) (plan recipe.Plan) {
		for _, name := range names {
			plan.Recipe.Secrets = append(plan.Recipe.Secrets, recipe.Secret{Name: name})
		}
		return plan
	}
	plan := Plan{Steps: []Step{{State: Hit, Resolved: signed("PIN")}, {State: Miss, Resolved: signed("KEY", "PIN")}, {State: Pending}}}
	if diff := cmp.Diff([]string{"KEY", "PIN"}, plan.Secrets()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPlanErrors(t *testing.T) {
	s := newShelf()
	planner := s.planner(t, town)
	if _, err := planner.Plan(t.Context(), []string{"rouf"}, catalog.X86_64); err == nil || !strings.Contains(err.Error(), `did you mean "roof"`) {
		t.Errorf("an unknown name: %v", err)
	}
	fault := errors.New("input/output error")
	planner.Store = broken{shelf: s, find: fault}
	if _, err := planner.Plan(t.Context(), []string{"shed"}, catalog.X86_64); !errors.Is(err, fault) || !strings.HasPrefix(err.Error(), `planning "shed": `) {
		t.Errorf("a broken store: %v", err)
	}
	planner.Store = broken{shelf: s, list: fault}
	if _, err := planner.Plan(t.Context(), []string{"shed"}, catalog.X86_64); !errors.Is(err, fault) {
		t.Errorf("a store that cannot be listed: %v", err)
	}
	// A registry that fails costs the comparison, not the plan.
	s.err = errors.New("503 Service Unavailable")
	steps := s.plan(t, town, "shed")
	if diff := cmp.Diff([]string{"1 shed build: no earlier artifact of shed on x86_64"}, told(steps)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if want := "plan  comparing shed with the registry: 503 Service Unavailable\n"; s.notes.String() != want {
		t.Errorf("noted %q, want %q", s.notes.String(), want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault)
	if _, err := s.planner(t, town).Plan(ctx, []string{"shed"}, catalog.X86_64); !errors.Is(err, fault) {
		t.Errorf("a context that ended: %v", err)
	}
}

// slow takes a second to look something up, and counts lookups at once.
type slow struct {
	*shelf
	mu            sync.Mutex
	running, most int
}

func (s *slow) Find(ctx context.Context, ref store.Ref) (store.Artifact, string, error) {
	s.count(1)
	defer s.count(-1)
	time.Sleep(time.Second)
	return s.shelf.Find(ctx, ref)
}

func (s *slow) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += n
	s.most = max(s.most, s.running)
}

// TestPlanLooksUpSideBySide: as many assets of the first stage as the limit allows,
// then the second stage.
func TestPlanLooksUpSideBySide(t *testing.T) {
	const width = 3 * lookups
	var assets, names strings.Builder
	head, _, _ := strings.Cut(town, "  - {name: walls")
	assets.WriteString(head)
	for i := range width {
		fmt.Fprintf(&assets, "  - {name: a%d, description: d, arches: [x86_64]}\n", i)
		fmt.Fprintf(&names, "a%d, ", i)
	}
	fmt.Fprintf(&assets, "  - {name: b, description: d, arches: [x86_64], dependencies: [%s]}\n", strings.TrimSuffix(names.String(), ", "))
	s := newShelf()
	s.fill(t, s.local, assets.String(), nil)
	planner := s.planner(t, assets.String())

	counting := &slow{shelf: s}
	synctest.Test(t, func(t *testing.T) {
		planner.Store = counting
		begin := time.Now()
		plan, err := planner.Plan(t.Context(), []string{"b"}, catalog.X86_64)
		if err != nil || len(plan.Steps) != width+1 {
			t.Fatalf("%d steps, %v", len(plan.Steps), err)
		}
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("three rounds of lookups and that of b take %s, want 4s", took)
		}
	})
	if counting.most != lookups {
		t.Errorf("%d lookups at once, want %d", counting.most, lookups)
	}
}
