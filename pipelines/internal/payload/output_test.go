package payload

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestLayout(t *testing.T) {
	o := options(t)
	image := make1(t, o)
	dir := filepath.Join(t.TempDir(), "a", "layout")
	refs := []string{"quay.io/kata-containers/kata-deploy:3.28.0", "localhost:5000/kata"}
	if err := image.WriteLayout(t.Context(), dir, refs); err != nil {
		t.Fatal(err)
	}
	index := must(layout.ImageIndexFromPath(dir))
	var tags, named []string
	for _, m := range must(index.IndexManifest()).Manifests {
		tags = append(tags, m.Annotations["org.opencontainers.image.ref.name"])
		named = append(named, m.Annotations["io.containerd.image.name"])
		got := must(index.Image(m.Digest))
		if m.Digest.String() != image.Digest() || m.Platform.Architecture != "amd64" {
			t.Errorf("the layout has %+v", m)
		}
		for _, l := range must(got.Layers()) {
			if n, err := io.Copy(io.Discard, must(l.Compressed())); err != nil || n != must(l.Size()) {
				t.Errorf("a layer has %d bytes, %v", n, err)
			}
		}
	}
	if !slices.Equal(tags, []string{"3.28.0", "localhost:5000/kata"}) || !slices.Equal(named, refs) {
		t.Errorf("tags %q of %q", tags, named)
	}
	// Another image takes its place, and leaves nothing of it.
	o.Components[0] = component(t, "qemu", 100, 8)
	second := make1(t, o)
	if err := second.WriteLayout(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	blobs := must(os.ReadDir(filepath.Join(dir, "blobs", "sha256")))
	if len(blobs) != 3+2 || must(must(layout.ImageIndexFromPath(dir)).IndexManifest()).Manifests[0].Digest.String() != second.Digest() {
		t.Errorf("%d blobs", len(blobs))
	}
	if left := must(os.ReadDir(filepath.Dir(dir))); len(left) != 1 {
		t.Errorf("left next to it: %v", left)
	}
}

// TestLayoutKeepsOthers has a folder with somebody's file.
func TestLayoutKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	image := make1(t, options(t))
	if err := image.WriteLayout(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "not an OCI layout") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := image.WriteLayout(ctx, filepath.Join(dir, "new"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := image.WriteDockerArchive(ctx, filepath.Join(dir, "new.tar"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := must(os.ReadDir(dir)); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestLayoutHere has the current folder, and one above it.
func TestLayoutHere(t *testing.T) {
	image := make1(t, options(t))
	dir := filepath.Join(t.TempDir(), "layout")
	if err := image.WriteLayout(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "blobs"))
	for _, name := range []string{"..", dir} {
		if err := image.WriteLayout(t.Context(), name, nil); err == nil || !strings.Contains(err.Error(), dir+" is the current one, or contains it") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	t.Chdir(filepath.Dir(dir))
	if err := image.WriteLayout(t.Context(), "layout", nil); err != nil {
		t.Error(err)
	}
}

// TestReplace has no folder to take the place of another, which stays.
func TestReplace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replace(dir, dir+".none", dir+".old"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestDockerArchive(t *testing.T) {
	image := make1(t, options(t))
	file := filepath.Join(t.TempDir(), "sub", "kata-deploy.tar")
	if err := image.WriteDockerArchive(t.Context(), file, []string{"kata-deploy:3.28.0"}); err != nil {
		t.Fatal(err)
	}
	got := must(tarball.ImageFromPath(file, nil))
	if config := must(got.ConfigFile()); config.Architecture != "amd64" || config.Config.Labels[annotation+"version"] != "3.28.0" {
		t.Errorf("config %+v", config)
	}
	layers, want := must(got.Layers()), image.Layers()
	for i := range want {
		// What docker compares when it loads one.
		if must(layers[i].DiffID()) != want[i].diffID {
			t.Errorf("layer %d is %s", i, must(layers[i].DiffID()))
		}
		n, err := io.Copy(io.Discard, must(layers[i].Uncompressed()))
		if err != nil || n != want[i].Size {
			t.Errorf("layer %d has %d bytes, %v", i, n, err)
		}
	}
	manifest := must(tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) }))
	if !slices.Equal(manifest[0].RepoTags, []string{"kata-deploy:3.28.0"}) {
		t.Errorf("manifest %+v", manifest)
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	if err := image.WriteDockerArchive(t.Context(), again, []string{"kata-deploy:3.28.0"}); err != nil {
		t.Fatal(err)
	}
	if string(must(os.ReadFile(file))) != string(must(os.ReadFile(again))) {
		t.Error("the archive of the same image differs")
	}
	// It is an OCI layout too.
	reader := tar.NewReader(must(os.Open(file)))
	for {
		h, err := reader.Next()
		if err != nil {
			t.Fatalf("no index.json: %v", err)
		}
		if h.Name != "index.json" {
			continue
		}
		var index v1.IndexManifest
		if err := json.NewDecoder(reader).Decode(&index); err != nil || index.Manifests[0].Digest.String() != image.Digest() {
			t.Errorf("index %+v, %v", index, err)
		}
		return
	}
}

// What killed processes left of earlier outputs of a name is removed by the next one.
func TestOutputsAfterAKill(t *testing.T) {
	image := make1(t, options(t))
	dir := t.TempDir()
	left := filepath.Join(dir, ".image.tmp1234", "new", "blobs")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, ".image.tar.tmp1234567890"), nil, 0o600), os.MkdirAll(left, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := image.WriteDockerArchive(t.Context(), filepath.Join(dir, "image.tar"), nil); err != nil {
		t.Fatal(err)
	}
	if err := image.WriteLayout(t.Context(), filepath.Join(dir, "image"), nil); err != nil {
		t.Fatal(err)
	}
	if left := must(os.ReadDir(dir)); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}
