package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// exported writes an image as an engine exports it.
func exported(_ context.Context, path string) error {
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
	c, _ := container(t, nil)
	c.Builders = &store.Builders{Local: store.Open(dir, func(text string) { t.Log(text) }), Registry: registry, Push: registry != nil}
	p := plan()
	p.Recipe.Builder = recipe.Builder{Distribution: "debian", Suite: "trixie", Packages: []string{"make"}}
	log, err := createLog(c.Logs, p)
	if err != nil {
		t.Fatal(err)
	}
	return &run{Container: c, plan: p, work: t.TempDir(), out: newOutput(log, nil)}
}

func jobOf(b *run) engine.Job {
	return engine.Job{Recipe: b.plan.Recipe, Machine: "x86_64", Declared: b.plan.Recipe.Builder}
}

// equipped returns the job of a build and has it make its builder if it has none.
func equipped(t *testing.T, b *run) (job engine.Job, digest string) {
	t.Helper()
	job = jobOf(b)
	done, err := b.equip(t.Context(), &job)
	if err != nil {
		t.Fatal(err)
	}
	digest = job.Builder.Digest
	if job.Keep != nil {
		if digest, err = job.Keep(t.Context(), "bootstrap:sha256:1", exported); err != nil {
			t.Fatal(err)
		}
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	return job, digest
}

func TestBuilderIsKept(t *testing.T) {
	registry, err := store.OpenRegistry(store.RegistryOptions{Ref: registrytest.New(t) + "/kata"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, made := equipped(t, building(t, dir, registry))
	if first.Builder.Path != "" || made == "" {
		t.Fatalf("the first build has the builder %+v and made %q", first.Builder, made)
	}
	for name, dir := range map[string]string{"local": dir, "registry": t.TempDir()} {
		b := building(t, dir, registry)
		b.Offline = true
		job, digest := equipped(t, b)
		if job.Keep != nil || digest != made || job.Builder.Base != "bootstrap:sha256:1" {
			t.Errorf("%s: builder %+v, want %s", name, job.Builder, made)
		}
		if info, err := os.Stat(job.Builder.Path); err != nil || info.Size() == 0 {
			t.Errorf("%s: the archive: %v, %v", name, info, err)
		}
	}
	// Another builder is another image.
	b := building(t, dir, registry)
	b.plan.Recipe.Builder.Epoch++
	if job, _ := equipped(t, b); job.Builder.Path != "" {
		t.Errorf("a builder of another epoch was taken: %+v", job.Builder)
	}
}

// A builder that only the local cache has goes to the registry once pushing is on.
func TestKeptBuilderIsPushed(t *testing.T) {
	registry, err := store.OpenRegistry(store.RegistryOptions{Ref: registrytest.New(t) + "/kata"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, made := equipped(t, building(t, dir, nil))
	equipped(t, building(t, dir, registry))
	if _, digest := equipped(t, building(t, t.TempDir(), registry)); digest != made {
		t.Errorf("the registry has the builder %q, want %s", digest, made)
	}
}

func TestBuilderOffline(t *testing.T) {
	b := building(t, t.TempDir(), nil)
	b.Offline = true
	for _, builders := range []*store.Builders{b.Builders, nil} {
		b.Builders = builders
		job := jobOf(b)
		_, err := b.equip(t.Context(), &job)
		if err == nil || !strings.Contains(err.Error(), "offline none is made: build walls once online, with --push") {
			t.Errorf("error %v", err)
		}
	}
}

func TestBuilderIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first := building(t, dir, nil)
	job := jobOf(first)
	done, err := first.equip(t.Context(), &job)
	if err != nil {
		t.Fatal(err)
	}
	second := building(t, dir, nil)
	type result struct {
		job engine.Job
		err error
	}
	results := make(chan result, 1)
	go func() {
		job := jobOf(second)
		done, err := second.equip(t.Context(), &job)
		if err == nil {
			err = done()
		}
		results <- result{job, err}
	}()
	select {
	case r := <-results:
		t.Fatalf("the second build did not wait: %+v", r)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := job.Keep(t.Context(), "base", exported); err != nil {
		t.Fatal(err)
	}
	r := <-results
	if r.err != nil || r.job.Builder.Path == "" || r.job.Keep != nil {
		t.Errorf("the second build: %+v", r)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
}

// A build that fails before its builder is made lets the next one make it.
func TestBuilderOfAFailedBuild(t *testing.T) {
	dir := t.TempDir()
	b := building(t, dir, nil)
	job := jobOf(b)
	done, err := b.equip(t.Context(), &job)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no space")
	if _, err := job.Keep(t.Context(), "base", func(context.Context, string) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v, want %v", err, failed)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	if job, _ := equipped(t, building(t, dir, nil)); job.Keep == nil {
		t.Error("a builder that was never made is there")
	}
	entries, err := filepath.Glob(filepath.Join(b.work, "*"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %q, %v", entries, err)
	}
}
