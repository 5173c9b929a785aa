//go:build bench

package source

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const (
	crateRounds = 5
	crateRatio  = 1.1 // at most, of the time of cargo fetch
)

// TestCrateSpeed downloads the crates of the package in the folder that KATA_BENCH_CRATES
// names, in turns with `cargo fetch`, both with empty caches.
func TestCrateSpeed(t *testing.T) {
	dir := os.Getenv("KATA_BENCH_CRATES")
	if dir == "" {
		t.Fatal("set KATA_BENCH_CRATES to the folder of a Cargo.toml and its Cargo.lock")
	}
	home := cargo.NewConfig(os.Environ()).Home
	var ours, theirs []time.Duration
	for range crateRounds {
		f := &Fetcher{Dir: t.TempDir(), Tree: os.DirFS(dir), Cargo: cargo.Config{Home: home}}
		begin := time.Now()
		_, err := f.Fetch(t.Context(), linux(versions.Place{Name: "crates", SHA256: hashText("x"), Cargo: &versions.Cargo{Lock: "Cargo.lock"}}), nil)
		ours = append(ours, time.Since(begin))
		wantError(t, err, "the archive of cargo:Cargo.lock and its crates has sha256") // Everything but the name in the cache.
		theirs = append(theirs, cargoFetch(t.Context(), t, dir, home))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	ratio := ours[crateRounds/2].Seconds() / theirs[crateRounds/2].Seconds()
	t.Logf("ours %v\ncargo fetch %v\nratio of the medians %.2f", ours, theirs, ratio)
	if ratio > crateRatio {
		t.Errorf("want at most %.1f", crateRatio)
	}
}

// cargoFetch returns how long cargo takes with an empty home that has only the
// configuration of the user's.
func cargoFetch(ctx context.Context, t *testing.T, dir, home string) time.Duration {
	t.Helper()
	empty := t.TempDir()
	if config, err := os.ReadFile(filepath.Join(home, "config.toml")); err == nil {
		if err := os.WriteFile(filepath.Join(empty, "config.toml"), config, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fetch := command.New(ctx, "cargo", "fetch", "--locked", "--quiet")
	fetch.Dir, fetch.Env = dir, append(fetch.Env, "CARGO_HOME="+empty)
	begin := time.Now()
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Fatalf("cargo fetch: %v: %s", err, out)
	}
	return time.Since(begin)
}
