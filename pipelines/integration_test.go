//go:build integration

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestIntegration builds tiny assets in a real engine, by the same code as the
// large ones. It shares the user's caches: what an engine is made of takes
// minutes. Every run has keys of its own.
func TestIntegration(t *testing.T) {
	// The tests of package embedded look at what an engine leaves on the host.
	lock := flock.New(filepath.Join(os.TempDir(), "kata-pipelines-integration.lock"))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	})
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "kata-pipelines")
	stopAfter(t, &embedded.Manager{CacheDir: cache, ModuleDir: "dagger-engine"})
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	host := registrytest.Distribution(t)
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "integration"),
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"leaks": leaks},
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"KATA_PIPELINES_CACHE": cache,
				"REPOSITORY":           repository,
				"REGISTRY":             host + "/" + filepath.Base(env.WorkDir),
				"HOME":                 os.Getenv("HOME"),
				"GOCACHE":              os.Getenv("GOCACHE"),
				"XDG_CACHE_HOME":       os.Getenv("XDG_CACHE_HOME"),
			} {
				env.Setenv(name, value)
			}
			for _, variable := range os.Environ() {
				if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "SSL_CERT") || strings.Contains(strings.ToLower(name), "proxy") {
					env.Setenv(name, value)
				}
			}
			for target, source := range map[string]string{".": filepath.Join("testdata", "integration", "tree"), "pipelines/dagger-engine": "dagger-engine"} {
				if err := os.CopyFS(filepath.Join(env.WorkDir, target), os.DirFS(source)); err != nil {
					return err
				}
			}
			nonce := fmt.Sprintf("# %d %s\n", time.Now().UnixNano(), env.WorkDir)
			return os.WriteFile(filepath.Join(env.WorkDir, "assets", "tiny", "nonce"), []byte(nonce), 0o644)
		},
	})
}

// stopAfter stops the embedded engine at the end, unless it ran before.
func stopAfter(t *testing.T, m *embedded.Manager) {
	t.Helper()
	status, err := m.Status()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if status.State != "running" {
			if err := m.Stop(context.Background(), false); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestReleaseOnDistribution makes a release in the distribution's registry.
func TestReleaseOnDistribution(t *testing.T) { releaseScripts(t, registrytest.Distribution(t)) }
