//go:build bench

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// signedHit is how much longer a hit in the local layout may take if its signature is
// checked.
const signedHit = 30 * time.Millisecond

// TestTrustSpeed compares hits with and without a check of their signatures, as whole
// processes in turns: the time from the local layout, and the requests to a registry.
func TestTrustSpeed(t *testing.T) {
	w := t.TempDir()
	program, root := filepath.Join(w, "pipelines"), filepath.Join(w, "tree")
	command(t, ".", "go", "build", "-o", program, ".")
	check(t, os.CopyFS(root, os.DirFS("testdata/tree")))
	key := filepath.Join(w, "ci.key")
	command(t, w, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
	command(t, w, "openssl", "pkey", "-in", key, "-pubout", "-out", key+".pub")
	public, err := os.ReadFile(key + ".pub")
	check(t, err)
	policy := fmt.Sprintf("signers:\n  - name: ci\n    signs: [cache]\n    key: |\n      %s\n", strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n      "))
	check(t, os.WriteFile(filepath.Join(root, "assets", "trust.yaml"), []byte(policy), 0o644))

	// An artifact with a record as large as that of a kernel.
	plan, err := planOf(root, "tiny", catalog.X86_64)
	check(t, err)
	canonical, err := plan.Recipe.Canonical()
	check(t, err)
	record := fmt.Sprintf(`{"packages":["%s1"]}`, strings.Repeat(`package=1.2.3-4","`, 150))
	content, tarball := filepath.Join(w, "content"), filepath.Join(w, "tiny.tar.zst")
	check(t, os.CopyFS(filepath.Join(content, "opt", "kata"), os.DirFS(filepath.Join(root, "assets", "tiny"))))
	_, err = archive.Pack(t.Context(), content, tarball, archive.Options{Level: 1})
	check(t, err)
	full := filepath.Join(w, "full")
	_, err = store.Open(filepath.Join(full, "store"), nil).Put(context.Background(), store.Put{
		Ref: store.Ref{Asset: "tiny", Arch: "x86_64", Key: plan.Key}, Tarball: tarball, Recipe: canonical, Record: []byte(record),
	})
	check(t, err)

	var requests atomic.Int64
	registry := registrytest.Handler(true)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		registry.ServeHTTP(rw, r)
	}))
	defer server.Close()
	cache := strings.TrimPrefix(server.URL, "http://") + "/kata"
	at := func(dir, verb string, args ...string) []string {
		return append(strings.Fields(verb), append(args, "tiny", "--root", root, "--arch", "x86_64", "--cache-dir", filepath.Join(w, dir))...)
	}
	command(t, w, program, at("full", "cache push", "--cache", cache, "--allow-dirty", "--sign", key)...)
	command(t, w, program, at("desk", "cache pull", "--cache", cache)...)

	asked := map[string]int64{}
	for _, mode := range []string{"off", "require"} {
		before := requests.Load()
		command(t, w, program, at("none", "plan", "--cache", cache, "--trust", mode)...)
		asked[mode] = requests.Load() - before
	}
	t.Logf("a hit in the registry: %d requests, with its signature %d", asked["off"], asked["require"])
	if asked["require"]-asked["off"] != 2 {
		t.Errorf("want two more: the list of signatures, and the signature")
	}
	took := map[string][]time.Duration{}
	for i := range 4 * rounds {
		mode := []string{"off", "require"}[i%2]
		one, _ := timed(t, w, program, at("desk", "plan", "--trust", mode)...)
		took[mode] = append(took[mode], one)
	}
	off, require := median(took["off"]), median(took["require"])
	t.Logf("a hit in the local layout: %v, with its signature %v: %v more, ratio %.2f", off, require, require-off, require.Seconds()/off.Seconds())
	if require-off > signedHit {
		t.Errorf("want at most %v more", signedHit)
	}
}
