package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

func TestMissBuildsAndHitDoesNot(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	first := h.build(t, "walls")
	h.wantBuilt(t, "walls")
	got := first[0]
	if got.Cached || !got.Changed || got.Asset != "walls" || got.Arch != "x86_64" || got.Size == 0 {
		t.Errorf("the miss: %+v", got)
	}
	if text := textOf(got.Path); text != "walls" {
		t.Errorf("the output has %q", text)
	}
	artifact, _, err := h.Store.Find(t.Context(), store.Ref{Asset: "walls", Arch: "x86_64", Key: got.Key})
	if err != nil || artifact.Digest != got.Digest || artifact.Manifest.Layers[1].Digest != digest.FromString("{}") {
		t.Errorf("stored is %+v, %v", artifact, err)
	}
	got.Cached, got.Changed = true, false
	if diff := cmp.Diff([]Result{got}, h.build(t, "walls")); diff != "" {
		t.Errorf("the hit (-want +got)\n%s", diff)
	}
	if err := os.Remove(got.Path); err != nil {
		t.Fatal(err)
	}
	got.Changed = true
	// It takes the part of another process.
	other := setUp(t, h.root, assets)
	if diff := cmp.Diff([]Result{got}, other.build(t, "walls")); diff != "" {
		t.Errorf("the hit after the output was removed (-want +got)\n%s", diff)
	}
	h.wantBuilt(t)
	other.wantBuilt(t)
}

func TestDamagedArtifactIsBuiltOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(path string) error
	}{
		{"flipped", flip},
		{"short", func(path string) error { return os.Truncate(path, 4) }},
		{"missing", os.Remove},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := setUp(t, t.TempDir(), assets)
			h.build(t, "attic", "walls")
			h.wantBuilt(t, "walls", "attic")
			digest := h.builder.digests["attic"]
			blob := filepath.Join(h.root, "store", "walls", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
			if err := os.Chmod(blob, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(blob); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(h.Output); err != nil {
				t.Fatal(err)
			}
			results := h.build(t, "attic", "walls")
			h.wantBuilt(t, "walls")
			if len(results) != 2 || results[0].Cached || results[0].Digest != digest || !results[1].Cached {
				t.Errorf("results: %+v", results)
			}
			if text := textOf(blob); text != "walls" {
				t.Errorf("the blob has %q", text)
			}
			h.build(t, "attic", "walls")
			h.wantBuilt(t)
		})
	}
}

func TestDependencies(t *testing.T) {
	root := t.TempDir()
	h := setUp(t, root, assets)
	results := h.build(t, "attic")
	h.wantBuilt(t, "walls", "attic")
	if len(results) != 1 || h.builder.given["attic"] != "walls" {
		t.Errorf("attic was given %q, results %+v", h.builder.given["attic"], results)
	}
	walls := h.build(t, "walls", "attic")[0]
	h.wantBuilt(t)
	if got := h.builder.digests["attic"]; got != walls.Digest {
		t.Errorf("the recipe of attic has the digest %s, want %s", got, walls.Digest)
	}

	repainted := strings.Replace(assets, "red", "blue", 1)
	same := setUp(t, root, repainted)
	again := same.build(t, "walls", "attic")
	same.wantBuilt(t, "walls")
	if again[0].Key == walls.Key || again[0].Digest != walls.Digest {
		t.Errorf("walls: %+v, before %+v", again[0], walls)
	}
	if !again[1].Cached || again[1].Key != results[0].Key {
		t.Errorf("attic: %+v, before %+v", again[1], results[0])
	}

	other := setUp(t, root, strings.Replace(assets, "red", "green", 1))
	other.builder.content = map[string]string{"walls": "green walls"}
	if again = other.build(t, "walls", "attic"); again[1].Key == results[0].Key {
		t.Error("other walls, but the same key of attic")
	}
	other.wantBuilt(t, "walls", "attic")
	if got := other.builder.given["attic"]; got != "green walls" {
		t.Errorf("attic was given %q", got)
	}
}

func TestTwoExecutorsBuildOnce(t *testing.T) {
	root := t.TempDir()
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	houses := []*house{setUp(t, root, assets), setUp(t, root, assets)}
	results := make([][]Result, len(houses))
	errs := make([]error, len(houses))
	var group sync.WaitGroup
	for i, h := range houses {
		h.builder.begun, h.builder.goOn = begun, goOn
		h.Output = filepath.Join(root, fmt.Sprint("output", i))
		group.Go(func() { results[i], errs[i] = h.Build(t.Context(), []string{"walls"}, catalog.X86_64) })
	}
	<-begun
	select {
	case <-houses[0].seen:
	case <-houses[1].seen:
	case <-begun:
		t.Error("both build")
	}
	close(goOn)
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if built := slices.Concat(houses[0].builder.built, houses[1].builder.built); len(built) != 1 {
		t.Errorf("built %q, want walls once", built)
	}
	if results[0][0].Cached == results[1][0].Cached || results[0][0].Digest != results[1][0].Digest {
		t.Errorf("results: %+v", results)
	}
	for _, h := range houses {
		h.wantFiles(t, h.Output, TarballName("walls"))
	}
}

func TestFailedBuild(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	h.builder.err = errors.New("no bricks")
	for range 2 { // the second would wait for a lock that the first kept
		results, err := h.Build(t.Context(), []string{"attic", "walls"}, catalog.X86_64)
		if !errors.Is(err, h.builder.err) || err.Error() != `building "walls": no bricks` {
			t.Errorf("error %v", err)
		}
		if len(results) != 0 {
			t.Errorf("results %+v", results)
		}
	}
	h.wantBuilt(t, "walls", "walls")
	h.wantFiles(t, h.Output)
	h.builder.err = nil
	h.build(t, "attic", "walls")
}

// TestFailureAfterADependency wants nothing in place and the dependency kept for
// the next attempt.
func TestFailureAfterADependency(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	h.build(t, "walls")
	if err := os.RemoveAll(h.Output); err != nil {
		t.Fatal(err)
	}
	h.builder.err = errors.New("no roof")
	if _, err := h.Build(t.Context(), []string{"attic"}, catalog.X86_64); !errors.Is(err, h.builder.err) {
		t.Errorf("error %v", err)
	}
	h.wantBuilt(t, "walls", "attic")
	h.wantFiles(t, h.Output)
}

// TestLeftOvers guards against a silent failure to clean up.
func TestLeftOvers(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	h.Builder = stuck{h.builder}
	if _, err := h.Build(t.Context(), []string{"walls"}, catalog.X86_64); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("error %v, want that of the removal", err)
	}
	h.Builder = h.builder
	if results, err := h.Build(t.Context(), []string{"walls"}, catalog.X86_64); err != nil || !results[0].Cached {
		t.Errorf("afterwards: %+v, %v; want the stored one", results, err)
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	key := h.build(t, "walls")[0].Key
	root := t.TempDir()
	holder, waiter := setUp(t, root, assets), setUp(t, root, assets)
	unlock, err := holder.Store.Lock(t.Context(), store.Ref{Asset: "walls", Arch: "x86_64", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := waiter.Build(ctx, []string{"walls"}, catalog.X86_64)
		failed <- err
	}()
	if note := <-waiter.seen; !strings.Contains(note, "waiting for another build of walls") {
		t.Errorf("noted %q", note)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	waiter.wantBuilt(t)
	waiter.wantFiles(t, waiter.Output)
	unlock()
	waiter.build(t, "walls")
}

func TestUnknownAsset(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	for _, test := range []struct {
		name string
		arch catalog.Arch
		want string
	}{
		{"wall", catalog.X86_64, "walls"},
		{"walls", catalog.S390X, "does not exist on s390x"},
	} {
		if _, err := h.Build(t.Context(), []string{test.name}, test.arch); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s on %s: %v, want %q", test.name, test.arch, err, test.want)
		}
	}
	h.wantBuilt(t)
	if entries, err := os.ReadDir(h.root); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestOutputThatIsThereIsReplaced(t *testing.T) {
	h := setUp(t, t.TempDir(), assets)
	path := filepath.Join(h.Output, TarballName("walls"))
	if err := os.MkdirAll(h.Output, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := h.build(t, "walls")[0]; !got.Changed {
		t.Errorf("result %+v", got)
	}
	if text := textOf(path); text != "walls" {
		t.Errorf("the output has %q", text)
	}
}
