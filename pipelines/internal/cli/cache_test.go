package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestVerifyRegistry tells damage, of artifacts and of what they are built from,
// from a registry that does not give what it has.
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
		{"whole", "", false, "the registry is whole\n", ""},
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
				t.Errorf("a refusal is told as damage: %q %q", &stdout, &stderr)
			}
		})
	}
}

// flipped is an answer whose bytes are others.
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
	registry, err := store.OpenRegistry(store.RegistryOptions{Ref: ref})
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

// TestCacheGoesOn has a tree with an asset whose sources have no pin: the others
// are pulled all the same, and the list of what could not be is the error.
func TestCacheGoesOn(t *testing.T) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("..", "..", "testdata", "tree"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "versions.yaml")
	pins, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := bytes.Index(pins, []byte("    sources:"))
	end := bytes.Index(pins[begin:], []byte("  tiny:"))
	if err := os.WriteFile(file, append(pins[:begin:begin], pins[begin+end:]...), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), []string{
		"cache", "pull", "--all", "--arch", "x86_64", "--root", root, "--cache-dir", t.TempDir(), "--cache", registrytest.New(t) + "/kata",
	}, Process{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }})
	for _, want := range []string{"has no source \"assets.kernel.linux\"", "tiny: artifact ", "huge: artifact "} {
		if code == 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("exit code %d, stderr %q, want %q", code, &stderr, want)
		}
	}
}
