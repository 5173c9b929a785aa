package build

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const pins = `assets:
  description: "things"
`

// The dependency comes last, so that sorting by name is not enough.
const assets = `family: house
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
  - name: attic
    description: stands on walls
    arches: [x86_64]
    dependencies: [walls]
  - name: walls
    description: stand on nothing
    arches: [x86_64]
    options: {COLOUR: red}
`

// fakeBuilder is a test double of Builder: it writes a tarball at once.
type fakeBuilder struct {
	dir string
	// content is that of an asset's tarball; by default it is the asset's name. A
	// secondary one contains "<asset> <output>".
	content map[string]string
	err     error
	// refuses is the error of Check, checked are the names of the assets that it
	// was asked about.
	refuses error
	checked []string
	// begun, if set, gets a value when a build begins, which then waits for goOn.
	begun, goOn chan struct{}

	mu sync.Mutex
	// built are the names of the assets in order; given has, by asset, the contents
	// of the tarballs of its dependencies, and digests those in its recipe.
	built   []string
	given   map[string]string
	digests map[string]string
}

func (f *fakeBuilder) Check(_ context.Context, steps []Step, _ int) error {
	for _, step := range steps {
		f.checked = append(f.checked, step.Asset)
	}
	return f.refuses
}

func (f *fakeBuilder) Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (Built, error) {
	if f.begun != nil {
		f.begun <- struct{}{}
		<-f.goOn
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := plan.Recipe.Asset
	f.built = append(f.built, name)
	if f.err != nil {
		return Built{}, f.err
	}
	var given []string
	for _, dependency := range slices.Sorted(maps.Keys(dependencies)) {
		given = append(given, textOf(dependencies[dependency]))
	}
	f.given[name] = strings.Join(given, ", ")
	for _, dependency := range plan.Recipe.Dependencies {
		f.digests[name] = dependency.Digest
	}
	folder, err := files.Beside(filepath.Join(f.dir, "fake"))
	if err != nil {
		return Built{}, err
	}
	work := folder.Name()
	content := name
	if text, ok := f.content[name]; ok {
		content = text
	}
	built := Built{Work: folder, Tarballs: map[string]string{"": filepath.Join(work, "tarball")}, Record: []byte(`{}`)}
	for _, output := range plan.Recipe.Output.Outputs {
		built.Tarballs[output] = filepath.Join(work, output)
		if err := packText(ctx, built.Tarballs[output], name+" "+output); err != nil {
			return Built{}, err
		}
	}
	return built, packText(ctx, built.Tarballs[""], content)
}

// packText writes a tarball that has one file with a text.
func packText(ctx context.Context, path, text string) error {
	tree := path + ".tree"
	if err := os.MkdirAll(filepath.Join(tree, "opt"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "opt", "text"), []byte(text), 0o644); err != nil {
		return err
	}
	_, err := archive.Pack(ctx, tree, path, archive.Options{Level: 1})
	return errors.Join(err, os.RemoveAll(tree))
}

// flip changes a byte of a file.
func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/3] ^= 1
	return os.WriteFile(path, data, 0o644)
}

// textOf returns the text of a tarball, or what is wrong with it.
func textOf(path string) string {
	var text strings.Builder
	if err := archive.Cat(&text, path, "opt/text"); err != nil {
		return err.Error()
	}
	return text.String()
}

// house is a Planner and an Executor over a real store, with everything that they
// write to.
type house struct {
	Planner
	*Executor
	Store   Store
	builder *fakeBuilder
	root    string
	seen    chan string
}

// setUp returns a house over the store below root: several may share it.
func setUp(t *testing.T, root, assets string) *house {
	t.Helper()
	tree := fstest.MapFS{
		"assets/house/assets.yaml": {Data: []byte(assets)},
		"assets/house/build.sh":    {Data: []byte("build\n"), Mode: 0o755},
	}
	c, err := catalog.Load(tree)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "versions.yaml")
	if err := os.WriteFile(file, []byte(pins), 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := versions.Load(file, tree)
	if err != nil {
		t.Fatal(err)
	}
	notes := make(chan string, 100)
	builder := &fakeBuilder{dir: t.TempDir(), given: map[string]string{}, digests: map[string]string{}}
	return &house{
		builder: builder, root: root, seen: notes,
		Store:    &store.Tiered{Local: store.Open(filepath.Join(root, "store"), progress.New(noted(notes), progress.Plain, nil))},
		Planner:  Planner{Catalog: c, Resolver: recipe.Resolver{Versions: v, Tree: recipe.NewTree(tree)}},
		Executor: &Executor{Builder: builder, Output: filepath.Join(root, "output")},
	}
}

// Build plans and executes.
func (h *house) Build(ctx context.Context, names []string, arch catalog.Arch) ([]Result, error) {
	h.Planner.Store, h.Executor.Store = h.Store, h.Store
	plan, err := h.Plan(ctx, names, arch)
	if err != nil {
		return nil, err
	}
	return h.Execute(ctx, plan)
}

// noted forwards each warning of a store.
type noted chan string

// Write takes a line of the report.
func (n noted) Write(p []byte) (int, error) {
	_, text, _ := strings.Cut(strings.TrimSuffix(string(p), "\n"), "  ")
	n <- text
	return len(p), nil
}

// build builds and checks that nothing but the requested tarballs is left.
func (h *house) build(t *testing.T, names ...string) []Result {
	t.Helper()
	results, err := h.Build(t.Context(), names, catalog.X86_64)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, result := range results {
		want = append(want, TarballName(result.Asset))
		for output := range result.Outputs {
			want = append(want, OutputName(result.Asset, output))
		}
	}
	slices.Sort(want)
	h.wantFiles(t, h.Output, want...)
	h.wantFiles(t, h.builder.dir)
	return results
}

func (h *house) wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in %s (-want +got)\n%s", filepath.Base(dir), diff)
	}
}

// wantBuilt compares and forgets what was built.
func (h *house) wantBuilt(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.builder.built); diff != "" {
		t.Errorf("built (-want +got)\n%s", diff)
	}
	h.builder.built = nil
}

// stuck is a test double of a Builder whose files cannot be removed.
type stuck struct{ Builder }

func (s stuck) Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (Built, error) {
	built, err := s.Builder.Build(ctx, plan, dependencies)
	if err == nil {
		built.Work, err = os.Open(built.Work.Name() + "/.")
	}
	return built, err
}
