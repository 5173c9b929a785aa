package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// village has two assets that share a dependency with a secondary tarball.
var village = assets + `    outputs: [bricks]
  - name: cellar
    description: stands under walls
    arches: [x86_64]
    dependencies: [walls]
`

func TestSideBySide(t *testing.T) {
	h := setUp(t, t.TempDir(), village)
	h.Parallel = 2
	h.build(t, "walls")
	h.wantBuilt(t, "walls")
	h.builder.begun, h.builder.goOn = make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := h.Build(t.Context(), []string{"attic", "cellar"}, catalog.X86_64)
		done <- err
	}()
	<-h.builder.begun
	<-h.builder.begun // both are under way
	close(h.builder.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOneAtATime(t *testing.T) {
	h := setUp(t, t.TempDir(), village)
	h.builder.begun, h.builder.goOn = make(chan struct{}, 3), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := h.Build(t.Context(), []string{"attic", "cellar"}, catalog.X86_64)
		done <- err
	}()
	for range 3 {
		<-h.builder.begun
		if len(h.builder.begun) > 0 {
			t.Error("two builds at once")
		}
		h.builder.goOn <- struct{}{}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Builds start in the order of the plan, by stage and name, whatever the order
// of the names and of a map.
func TestBuildsStartInOrder(t *testing.T) {
	want := []string{"beams", "shed", "walls", "roof", "attic"}
	for range 20 {
		h := setUp(t, t.TempDir(), town)
		h.build(t, "walls", "attic", "shed", "beams")
		h.wantBuilt(t, want...)
		if diff := cmp.Diff(want, h.builder.checked); diff != "" {
			t.Fatalf("checked (-want +got)\n%s", diff)
		}
	}
}

// Problems are reported before anything is built, those of pending steps too.
func TestAllIsCheckedFirst(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	h.builder.refuses = errors.New("no secret")
	results, err := h.Build(t.Context(), []string{"attic"}, catalog.X86_64)
	if !errors.Is(err, h.builder.refuses) || results == nil || len(results) != 0 {
		t.Errorf("results %v, %v", results, err)
	}
	h.wantBuilt(t)
	if diff := cmp.Diff([]string{"walls", "attic"}, h.builder.checked); diff != "" {
		t.Errorf("checked (-want +got)\n%s", diff)
	}
	// A hit needs nothing.
	h.builder.refuses = nil
	h.build(t, "attic")
	h.builder.checked = nil
	h.build(t, "attic")
	if len(h.builder.checked) > 0 {
		t.Errorf("hits were checked: %v", h.builder.checked)
	}
}

func TestSharedDependencyIsBuiltOnce(t *testing.T) {
	h := setUp(t, t.TempDir(), village)
	h.Parallel = 4
	results := h.build(t, "attic", "cellar")
	slices.Sort(h.builder.built[1:])
	h.wantBuilt(t, "walls", "attic", "cellar")
	if len(results) != 2 || h.builder.given["attic"] != "walls, walls bricks" || h.builder.given["cellar"] != "walls, walls bricks" {
		t.Errorf("results %+v, given %q", results, h.builder.given)
	}
}

func TestSecondaryTarballs(t *testing.T) {
	h := setUp(t, t.TempDir(), village)
	for _, cached := range []bool{false, true} {
		got := h.build(t, "walls")[0]
		want := map[string]string{"bricks": filepath.Join(h.Output, "kata-static-walls-bricks.tar.zst")}
		if diff := cmp.Diff(want, got.Outputs); diff != "" || got.Cached != cached || got.Changed == cached {
			t.Errorf("result %+v (-want +got)\n%s", got, diff)
		}
		if text := textOf(want["bricks"]); text != "walls bricks" {
			t.Errorf("the secondary tarball has %q", text)
		}
	}
	h.wantBuilt(t, "walls")
}

// exports is a test double of a Store that notes what is taken out of it.
type exports struct {
	Store
	taken []string
}

func (e *exports) Blob(ctx context.Context, artifact store.Artifact, output string) (string, error) {
	e.taken = append(e.taken, strings.TrimSpace(artifact.Asset+" "+output))
	return e.Store.Blob(ctx, artifact, output)
}

func (e *exports) Export(ctx context.Context, artifact store.Artifact, output, path string) (bool, error) {
	e.taken = append(e.taken, strings.TrimSpace(artifact.Asset+" "+output))
	return e.Store.Export(ctx, artifact, output, path)
}

func TestHitTakesNoDependency(t *testing.T) {
	h := setUp(t, t.TempDir(), village)
	h.build(t, "attic")
	seen := &exports{Store: h.Store}
	h.Store = seen
	h.build(t, "attic")
	if diff := cmp.Diff([]string{"attic"}, seen.taken); diff != "" {
		t.Errorf("taken out of the store (-want +got)\n%s", diff)
	}
}

// TestDamagedDependency wants a dependency that turns out to be damaged built
// again, and its dependents stopped where that gives other bytes.
func TestDamagedDependency(t *testing.T) {
	for _, test := range []struct{ content, want string }{
		{"walls", ""},
		{"crooked walls", `building "attic": finding the dependency "walls": its artifact was damaged, and building it again gave`},
	} {
		h := setUp(t, t.TempDir(), assets)
		digest := h.build(t, "walls")[0].Digest
		if err := os.RemoveAll(h.Output); err != nil {
			t.Fatal(err)
		}
		blob := filepath.Join(h.root, "store", "walls", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
		if err := os.Chmod(blob, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := flip(blob); err != nil {
			t.Fatal(err)
		}
		h.builder.content = map[string]string{"walls": test.content}
		_, err := h.Build(t.Context(), []string{"attic"}, catalog.X86_64)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", test.content, err, test.want)
		}
		if test.want == "" {
			continue
		}
		// The next run knows the new digest.
		h.build(t, "attic")
		if h.builder.given["attic"] != test.content {
			t.Errorf("attic was given %q", h.builder.given["attic"])
		}
	}
}

// registry is a test double of a Store that can publish; each error is that of one
// call.
type registry struct {
	Store
	published []string
	errs      []error
}

func (r *registry) Publish(_ context.Context, artifact store.Artifact, _ []string) error {
	r.published = append(r.published, artifact.Asset)
	if len(r.errs) == 0 {
		return nil
	}
	err := r.errs[0]
	r.errs = r.errs[1:]
	return err
}

func TestPublish(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	registry := &registry{Store: h.Store}
	h.Store, h.Push, h.Tags = registry, true, []string{"latest-main-x86_64"}
	h.build(t, "attic")
	h.build(t, "attic")
	if diff := cmp.Diff([]string{"walls", "attic", "walls", "attic"}, registry.published); diff != "" {
		t.Errorf("published (-want +got)\n%s", diff)
	}
	refused := errors.New("refused")
	registry.errs = []error{refused}
	results, err := h.Build(t.Context(), []string{"walls"}, catalog.X86_64)
	if !errors.Is(err, refused) || err.Error() != `publishing "walls": refused` {
		t.Errorf("error %v", err)
	}
	if len(results) != 1 || results[0].Asset != "walls" {
		t.Errorf("results %+v: the tarball is in place despite the failure", results)
	}
}

// worn is a test double of a Store that offers an artifact a few more times although
// it lacks the tarball, as two damaged tiers do.
type worn struct {
	Store
	artifact store.Artifact
	times    int
}

func (w *worn) Find(ctx context.Context, ref store.Ref) (store.Artifact, string, error) {
	if w.times > 0 {
		return w.artifact, store.InLocal, nil
	}
	return w.Store.Find(ctx, ref)
}

func (w *worn) Blob(ctx context.Context, artifact store.Artifact, output string) (string, error) {
	if w.times > 0 {
		w.times--
		return "", store.ErrNotFound
	}
	return w.Store.Blob(ctx, artifact, output)
}

func (w *worn) Export(ctx context.Context, artifact store.Artifact, output, path string) (bool, error) {
	if w.times > 0 {
		w.times--
		return false, store.ErrNotFound
	}
	return w.Store.Export(ctx, artifact, output, path)
}

func TestBothTiersDamaged(t *testing.T) {
	for _, names := range [][]string{{"walls"}, {"attic"}} {
		h := setUp(t, t.TempDir(), assets)
		h.build(t, "walls")
		key := store.Ref{Asset: "walls", Arch: "x86_64", Key: h.build(t, "walls")[0].Key}
		artifact, _, err := h.Store.Find(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(h.Output); err != nil {
			t.Fatal(err)
		}
		empty := setUp(t, t.TempDir(), assets)
		empty.Store = &worn{empty.Store, artifact, 2}
		if _, err := empty.Build(t.Context(), names, catalog.X86_64); err != nil {
			t.Errorf("%s: %v", names, err)
		}
		if empty.builder.built[0] != "walls" {
			t.Errorf("%s: built %q", names, empty.builder.built)
		}
	}
}

// TestPublishWhatTheRegistryLost wants an artifact that is incomplete in both tiers
// built again, and then published.
func TestPublishWhatTheRegistryLost(t *testing.T) {
	for _, test := range []struct{ content, want string }{
		{"walls", ""},
		{"crooked walls", `publishing "walls": the registry's artifact is incomplete, and building it again gave`},
	} {
		h := setUp(t, t.TempDir(), assets)
		h.build(t, "walls")
		h.wantBuilt(t, "walls")
		h.Store, h.Push = &registry{Store: h.Store, errs: []error{store.ErrNotFound}}, true
		h.builder.content = map[string]string{"walls": test.content}
		_, err := h.Build(t.Context(), []string{"walls"}, catalog.X86_64)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", test.content, err, test.want)
		}
		h.wantBuilt(t, "walls")
	}
}
