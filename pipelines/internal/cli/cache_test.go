package cli

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// TestVerifyRegistry distinguishes damage, of artifacts and of what they are built from,
// from a registry that fails.
func TestVerifyRegistry(t *testing.T) {
	host := registrytest.New(t)
	fill(t, host+"/kata")
	for _, test := range []struct {
		name   string
		path   string
		refuse bool
		stdout string
		stderr string
	}{
		{"whole", "", false, "the registry is whole (2 verified)\n", ""},
		{"damaged artifact", "/v2/kata/tiny/blobs/", false, " of tiny: ", "error: the registry is damaged (1 found)"},
		{"damaged source", "/v2/kata/sources/blobs/", false, "source sha256:", "error: the registry is damaged (1 found)"},
		{"refused", "/v2/kata/tiny/blobs/", true, "", "403 Forbidden"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch at := test.path != "" && strings.HasPrefix(r.URL.Path, test.path); {
				case at && test.refuse:
					http.Error(w, "", http.StatusForbidden)
				case at:
					proxy.ServeHTTP(flipped{w}, r)
				default:
					proxy.ServeHTTP(w, r)
				}
			}))
			defer server.Close()
			var stdout, stderr bytes.Buffer
			code := Run(t.Context(), []string{
				"cache", "verify", "--registry", "--root", filepath.Join("..", "..", "testdata", "tree"), "--cache-dir", t.TempDir(),
				"--cache", strings.TrimPrefix(server.URL, "http://") + "/kata",
			}, Process{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }})
			if !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stdout %q, want %q; stderr %q, want %q", &stdout, test.stdout, &stderr, test.stderr)
			}
			if (code == 0) != (test.name == "whole") {
				t.Errorf("exit code %d", code)
			}
			if test.refuse && (strings.Contains(stderr.String(), "damaged") || stdout.Len() > 0) {
				t.Errorf("a refusal is reported as damage: %q %q", &stdout, &stderr)
			}
		})
	}
}

// flipped is a response whose bytes are changed.
type flipped struct{ http.ResponseWriter }

// Write flips a bit of each byte.
func (f flipped) Write(p []byte) (int, error) {
	other := make([]byte, len(p))
	for i, b := range p {
		other[i] = b ^ 1
	}
	return f.ResponseWriter.Write(other)
}

// fill pushes an artifact and a source.
func fill(t *testing.T, ref string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	data := []byte("a tarball or a source")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	tarball, tree := filepath.Join(dir, "tarball"), filepath.Join(dir, "tree")
	if err := os.CopyFS(filepath.Join(tree, "opt"), fstest.MapFS{"text": {Data: data}}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Pack(t.Context(), tree, tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	registry, err := store.OpenRegistry(ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	local := store.Open(filepath.Join(dir, "store"), nil)
	empty := sha256.Sum256([]byte("{}"))
	key := store.Ref{Asset: "tiny", Arch: "x86_64", Key: hex.EncodeToString(empty[:])}
	if _, err := local.Put(t.Context(), store.Put{Ref: key, Tarball: tarball, Recipe: []byte("{}"), Record: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := registry.Push(t.Context(), key, local, nil); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if _, err := registry.PushSource(t.Context(), "sha256:"+hex.EncodeToString(sum[:]), "file", file); err != nil {
		t.Fatal(err)
	}
}

// TestCacheGoesOn has a tree with an asset whose sources have no pin: the others are pulled
// or pushed, and the error lists the rest.
func TestCacheGoesOn(t *testing.T) {
	removed := func(root string) error { return os.Remove(filepath.Join(root, "assets", "sources.yaml")) }
	raised := func(root string) error {
		path := filepath.Join(root, "versions.yaml")
		data, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path, bytes.ReplaceAll(data, []byte("v6.18.15"), []byte("v6.18.99")), 0o644))
	}
	for name, unpin := range map[string]func(string) error{`has no source "assets.kernel.linux"`: removed, `is "v6.18.99", which assets/sources.yaml`: raised} {
		t.Run("pull "+name, func(t *testing.T) { cacheGoesOn(t, unpin, []string{"pull"}, name, "artifact ") })
		t.Run("push "+name, func(t *testing.T) {
			cacheGoesOn(t, unpin, []string{"push", "--allow-dirty"}, name, "not found in the local cache ")
		})
	}
}

func cacheGoesOn(t *testing.T, unpin func(string) error, verb []string, why, lacking string) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("..", "..", "testdata", "tree"))); err != nil {
		t.Fatal(err)
	}
	if err := unpin(root); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), append(append([]string{"cache"}, verb...), []string{
		"--all", "--arch", "x86_64", "--root", root, "--cache-dir", t.TempDir(), "--cache", registrytest.New(t) + "/kata",
	}...), Process{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }})
	for _, want := range []string{why, "tiny: " + lacking, "huge: " + lacking} {
		if code == 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("exit code %d, stderr %q, want %q", code, &stderr, want)
		}
	}
}

// TestCachePushBuilder: CI builds without --push and pushes what verify passed, so
// cache push also sends the builder that made it, as build-asset --push does.
func TestCachePushBuilder(t *testing.T) {
	cache, arch := t.TempDir(), string(catalog.HostArch())
	ref := registrytest.New(t) + "/kata"
	ws, err := workspace.Open(t.Context(), workspace.Options{Root: filepath.Join("..", "..", "testdata", "tree"), CacheDir: cache, Registry: ref})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	asset, err := ws.Catalog.Find("tiny", catalog.HostArch())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := ws.Resolve(asset, catalog.HostArch())
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := plan.Recipe.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tarball, tree, image := filepath.Join(dir, "tarball"), filepath.Join(dir, "tree"), filepath.Join(dir, "image.tar")
	if err := os.CopyFS(filepath.Join(tree, "opt"), fstest.MapFS{"text": {Data: []byte("text")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Pack(t.Context(), tree, tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	put := store.Put{Ref: store.Ref{Asset: "tiny", Arch: arch, Key: plan.Key}, Tarball: tarball, Recipe: canonical, Record: []byte("{}")}
	if _, err := ws.Store.Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	declared, err := plan.Recipe.On(arch)
	if err != nil {
		t.Fatal(err)
	}
	id, err := declared.ID(arch)
	if err != nil {
		t.Fatal(err)
	}
	ociImage(t, image)
	builders := &store.Builders{Local: ws.Store.Local}
	if _, err := builders.Put(t.Context(), store.Image{ID: id, Arch: arch, Base: "base"}, image); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), []string{"cache", "push", "tiny", "--allow-dirty", "--root", ws.Root, "--cache-dir", cache, "--cache", ref},
		Process{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }})
	if code != 0 || !strings.Contains(stdout.String(), "tiny "+plan.Key) {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
	elsewhere := &store.Builders{Local: store.Open(t.TempDir(), nil), Registry: ws.Store.Registry}
	if _, where, err := elsewhere.Find(t.Context(), id, arch); err != nil || where != store.InRegistry {
		t.Errorf("the registry lacks the builder: %q, %v", where, err)
	}
}

// ociImage writes an OCI archive of an image with one layer.
func ociImage(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	image := tar.NewWriter(file)
	add := func(name string, data []byte) {
		if err := image.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := image.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		add("blobs/sha256/"+d.Digest.Encoded(), data)
		return d
	}
	encode := func(value any) []byte {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{blob(ocispec.MediaTypeImageLayer, []byte("layer"))}}
	m.SchemaVersion = 2
	m.Config = blob(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux"}`))
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{blob(ocispec.MediaTypeImageManifest, encode(m))}}
	add(ocispec.ImageIndexFile, encode(index))
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
}
