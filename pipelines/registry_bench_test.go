//go:build bench

package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// The limits are those that the registry tier was made for.
const (
	pullRatio  = 1.1
	pullMemory = 64 << 10 // KiB
	planLimit  = 500 * time.Millisecond
	hitLimit   = 150 * time.Millisecond
	missBytes  = 20_000
	rounds     = 10
	bigSize    = 500e6
	kernelSize = 165e6 // that of kernel-debug
	manyAssets = 30
)

// TestRegistrySpeed measures the program, as whole processes, against a real
// registry on this machine, beside the oras CLI in the same run.
func TestRegistrySpeed(t *testing.T) {
	w := t.TempDir()
	program, oras := filepath.Join(w, "pipelines"), filepath.Join(w, "oras")
	command(t, ".", "go", "build", "-o", program, ".")
	buildOras(t, oras)
	root := filepath.Join(w, "tree")
	declareMany(t, root)
	full := filepath.Join(w, "full")
	big := fill(t, root, filepath.Join(full, "store"))
	// A child's peak begins with what its parent has in memory.
	debug.FreeOSMemory()
	check(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
	registry := registrytest.Distribution(t) + "/kata"
	at := func(cache string, args ...string) []string {
		return append(args, "--root", root, "--arch", "x86_64", "--cache-dir", cache, "--cache", registry)
	}
	command(t, w, program, at(full, "cache", "push", "--all", "--allow-dirty")...)

	var ours, theirs []time.Duration
	var memory int64
	// The verdict on the tarball stays, so that what is measured is the transfer.
	pull := func() time.Duration {
		defer remove(t, filepath.Join(w, "ours", "store"))
		took, peak := timed(t, w, program, at(filepath.Join(w, "ours"), "cache", "pull", "asset-0")...)
		memory = max(memory, peak)
		return took
	}
	orasPull := func() time.Duration {
		defer remove(t, filepath.Join(w, "theirs"))
		took, _ := timed(t, w, oras, "pull", "--plain-http", "-o", filepath.Join(w, "theirs"), registry+"/asset-0:"+big.Tag())
		return took
	}
	first := pull() // both find the registry's file in memory
	t.Logf("the first pull, which vets the tarball: %v; peak memory %d KiB", first, memory)
	memory = 0
	orasPull()
	for i := range rounds {
		if i%2 == 0 { // who comes first must not matter
			ours, theirs = append(ours, pull()), append(theirs, orasPull())
		} else {
			theirs, ours = append(theirs, orasPull()), append(ours, pull())
		}
	}
	ratio := median(ours).Seconds() / median(theirs).Seconds()
	t.Logf("pull of %.0f MB: %v (%v), oras pull %v (%v), ratio %.2f; peak memory %d KiB", bigSize/1e6, median(ours), ours, median(theirs), theirs, ratio, memory)
	if ratio > pullRatio || memory > pullMemory {
		t.Errorf("want a ratio of at most %.2f and at most %d KiB", pullRatio, pullMemory)
	}

	var plans []time.Duration
	for range rounds {
		took, _ := timed(t, w, program, at(filepath.Join(w, "none"), "plan", "--all")...)
		plans = append(plans, took)
	}
	t.Logf("plan --all, %d assets cached in the registry: %v", manyAssets, median(plans))
	if median(plans) > planLimit {
		t.Errorf("want at most %v", planLimit)
	}

	var hits []time.Duration
	command(t, w, program, at(full, "build-asset", "asset-1", "-o", filepath.Join(w, "out"))...)
	for range rounds {
		took, _ := timed(t, w, program, at(full, "build-asset", "asset-1", "-o", filepath.Join(w, "out"))...)
		hits = append(hits, took)
	}
	t.Logf("hit in the local layout, %.0f MB verified in place: %v", kernelSize/1e6, median(hits))
	if median(hits) > hitLimit {
		t.Errorf("want at most %v", hitLimit)
	}

	// Another script makes another key: a miss, explained against the registry's.
	file(t, filepath.Join(root, "assets", "many", "build.sh"), "#!/bin/sh\nexit\n")
	host, path, _ := strings.Cut(registry, "/")
	proxy, read := counting(t, host)
	command(t, w, program, "plan", "asset-1", "--root", root, "--arch", "x86_64", "--cache-dir", filepath.Join(w, "none"), "--cache", proxy+"/"+path)
	t.Logf("a miss that is explained reads %d bytes from the registry", read())
	if n := read(); n == 0 || n > missBytes {
		t.Errorf("want at most %d bytes, and some", missBytes)
	}
}

// counting returns the address of a proxy for a host, and what tells how many
// bytes came from there.
func counting(t *testing.T, host string) (address string, read func() int64) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var bytes atomic.Int64
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() { _, _ = io.Copy(server, client) }()
			go func() {
				_, _ = io.Copy(io.MultiWriter(client, writer(func(p []byte) { bytes.Add(int64(len(p))) })), server)
			}()
		}
	}()
	return listener.Addr().String(), bytes.Load
}

// writer is a function that sees what is written.
type writer func([]byte)

// Write never fails.
func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// buildOras compiles the CLI from its module. The checksum database lacks it;
// nothing that is released depends on it.
func buildOras(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	file(t, filepath.Join(dir, "go.mod"), "module bench\n\ngo 1.26\n\nrequire oras.land/oras v1.3.0\n")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", path, "oras.land/oras/cmd/oras")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GONOSUMDB=oras.land/oras", "GOFLAGS=-modcacherw")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building oras: %v\n%s", err, out)
	}
}

// declareMany makes a tree of assets of which each depends on an earlier one.
func declareMany(t *testing.T, root string) {
	t.Helper()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", "tree"))); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(root, "assets"))
	var text strings.Builder
	text.WriteString(`family: many
builder:
  distribution: debian
  suite: trixie
  image: debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  epoch: 1
  packages: []
steps:
  - name: build
    script: build.sh
assets:
`)
	for i := range manyAssets {
		fmt.Fprintf(&text, "  - name: asset-%d\n    description: one of many\n    arches: [x86_64]\n", i)
		if i > 9 {
			fmt.Fprintf(&text, "    dependencies: [asset-%d]\n", i%10)
		}
	}
	file(t, filepath.Join(root, "assets", "many", "assets.yaml"), text.String())
	file(t, filepath.Join(root, "assets", "many", "build.sh"), "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(root, "assets", "many", "build.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// fill stores something for each asset, and returns the big one.
func fill(t *testing.T, root, dir string) (big store.Ref) {
	t.Helper()
	tree := recipe.NewTree(os.DirFS(root))
	assets, err := catalog.Load(tree)
	check(t, err)
	pins, err := versions.Load(filepath.Join(root, "versions.yaml"), tree)
	check(t, err)
	all, err := assets.Closure(assets.Names(), catalog.X86_64)
	check(t, err)
	s := store.Open(dir, nil)
	digests := map[string]recipe.Digests{}
	for _, asset := range all {
		plan, err := recipe.Resolver{Versions: pins, Tree: tree}.Resolve(asset, catalog.X86_64, digests)
		check(t, err)
		tarball := filepath.Join(t.TempDir(), "tarball")
		size := int64(1000)
		ref := store.Ref{Asset: asset.Name, Arch: "x86_64", Key: plan.Key}
		switch asset.Name {
		case "asset-0":
			size, big = bigSize, ref
		case "asset-1":
			size = kernelSize
		}
		installed := t.TempDir()
		check(t, os.Mkdir(filepath.Join(installed, "opt"), 0o755))
		out, err := os.Create(filepath.Join(installed, "opt", "noise"))
		check(t, err)
		_, err = io.CopyN(out, rand.Reader, size)
		check(t, err)
		check(t, out.Close())
		_, err = archive.Pack(t.Context(), installed, tarball, archive.Options{Level: 1})
		check(t, err)
		remove(t, installed)
		canonical, err := plan.Recipe.Canonical()
		check(t, err)
		artifact, err := s.Put(t.Context(), store.Put{Ref: ref, Tarball: tarball, Recipe: canonical, Record: []byte("{}")})
		check(t, err)
		digests[asset.Name] = build.Contents(artifact)
	}
	return big
}

// timed runs a command and returns how long it took and its peak memory in KiB.
func timed(t *testing.T, dir, name string, args ...string) (time.Duration, int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TARGET_BRANCH=main")
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
	return took.Round(time.Millisecond), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
}

func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	timed(t, dir, name, args...)
}

func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func file(t *testing.T, path, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

func remove(t *testing.T, path string) {
	t.Helper()
	check(t, os.RemoveAll(path))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
