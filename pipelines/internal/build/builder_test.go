package build

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// exported writes an image as an engine exports it.
func exported(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	add := func(name, data string) error {
		if err := archive.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			return err
		}
		_, err := archive.Write([]byte(data))
		return err
	}
	blob := func(kind, data string) (string, error) {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
		descriptor := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}`, kind, sum, len(data))
		return descriptor, add("blobs/sha256/"+sum, data)
	}
	config, err1 := blob("config.v1+json", `{"architecture":"amd64","os":"linux"}`)
	layer, err2 := blob("layer.v1.tar+zstd", "a layer")
	manifest, err3 := blob("manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, config, layer))
	err4 := add("index.json", fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, manifest))
	return errors.Join(err1, err2, err3, err4, archive.Close())
}

// building returns a build under way that keeps builders in a folder.
func building(t *testing.T, dir string, registry *store.Registry) *run {
	t.Helper()
	c, _ := container(t)
	c.Builders = &store.Builders{Local: store.Open(dir, nil), Registry: registry, Push: registry != nil}
	p := plan()
	p.Recipe.Builder = recipe.Builder{Distribution: "debian", Suite: "trixie", Packages: []string{"make"}}
	return &run{Container: c, plan: p, work: t.TempDir(), log: newLog(t)}
}

func id(t *testing.T, b *run) string {
	t.Helper()
	id, err := b.plan.Recipe.Builder.ID("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// equipped returns the kept builder of a build, which makes it if there is none,
// and whether it did.
func equipped(t *testing.T, b *run) (image store.Image, made bool) {
	t.Helper()
	image, unlock, err := b.keptBuilder(t.Context(), id(t, b), "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if image.Digest != "" {
		return image, false
	}
	if err := exported(b.archive(id(t, b))); err != nil {
		t.Fatal(err)
	}
	image, err = b.keepBuilder(t.Context(), store.Image{ID: id(t, b), Arch: "x86_64", Base: "bootstrap:sha256:1"})
	if err != nil {
		t.Fatal(err)
	}
	return image, true
}

func TestBuilderIsKept(t *testing.T) {
	registry, err := store.OpenRegistry(registrytest.New(t)+"/kata", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, made := equipped(t, building(t, dir, registry))
	if !made || first.Digest == "" {
		t.Fatalf("the first build has the builder %+v, made %v", first, made)
	}
	for name, dir := range map[string]string{"local": dir, "registry": t.TempDir()} {
		b := building(t, dir, registry)
		b.Offline = true
		image, made := equipped(t, b)
		if made || image.Digest != first.Digest || image.Base != "bootstrap:sha256:1" {
			t.Errorf("%s: builder %+v, made %v, want %s", name, image, made, first.Digest)
		}
		if info, err := os.Stat(b.archive(id(t, b))); err != nil || info.Size() == 0 {
			t.Errorf("%s: the archive: %v, %v", name, info, err)
		}
	}
	// Another builder is another image.
	b := building(t, dir, registry)
	b.plan.Recipe.Builder.Epoch++
	if image, made := equipped(t, b); !made {
		t.Errorf("a builder of another epoch was taken: %+v", image)
	}
}

// A builder that only the local cache has goes to the registry once pushing is enabled.
func TestKeptBuilderIsPushed(t *testing.T) {
	registry, err := store.OpenRegistry(registrytest.New(t)+"/kata", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, _ := equipped(t, building(t, dir, nil))
	equipped(t, building(t, dir, registry))
	if image, made := equipped(t, building(t, t.TempDir(), registry)); made || image.Digest != first.Digest {
		t.Errorf("the registry has the builder %q, want %s", image.Digest, first.Digest)
	}
}

func TestBuilderOffline(t *testing.T) {
	b := building(t, t.TempDir(), nil)
	b.Offline = true
	_, _, err := b.keptBuilder(t.Context(), id(t, b), "x86_64")
	if err == nil || !strings.Contains(err.Error(), "cannot be made offline: build walls once online, with --push") {
		t.Errorf("error %v", err)
	}
}

func TestBuilderIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, second := building(t, dir, nil), building(t, dir, nil)
	image, unlock, err := first.keptBuilder(t.Context(), id(t, first), "x86_64")
	if err != nil || image.Digest != "" {
		t.Fatal(image, err)
	}
	type result struct {
		image store.Image
		err   error
	}
	results := make(chan result, 1)
	go func() {
		image, unlock, err := second.keptBuilder(t.Context(), id(t, second), "x86_64")
		unlock()
		results <- result{image, err}
	}()
	select {
	case r := <-results:
		t.Fatalf("the second build did not wait: %+v", r)
	case <-time.After(100 * time.Millisecond):
	}
	if err := exported(first.archive(id(t, first))); err != nil {
		t.Fatal(err)
	}
	made, err := first.keepBuilder(t.Context(), store.Image{ID: id(t, first), Arch: "x86_64", Base: "base"})
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if r := <-results; r.err != nil || r.image.Digest != made.Digest {
		t.Errorf("the second build: %+v", r)
	}
}

// A build that fails before its builder is made lets the next one make it.
func TestBuilderOfAFailedBuild(t *testing.T) {
	dir := t.TempDir()
	b := building(t, dir, nil)
	_, unlock, err := b.keptBuilder(t.Context(), id(t, b), "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.keepBuilder(t.Context(), store.Image{ID: id(t, b), Arch: "x86_64"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("keeping what was not exported: %v", err)
	}
	unlock()
	if _, made := equipped(t, building(t, dir, nil)); !made {
		t.Error("the next build did not make the builder")
	}
}
