package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// open opens a copy of the tree of the script tests, with a release set.
func open(t *testing.T) *Workspace {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.CopyFS(root, os.DirFS("../../testdata/tree")))
	require.WriteFile(t, filepath.Join(root, "assets", "sets.yaml"), "small:\n  x86_64: [tiny, kernel-debug]\n")
	w, err := Open(t.Context(), Options{Root: root, CacheDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(w.Close)
	return w
}

// TestSelect: names, --set and --all mean the same in every verb.
func TestSelect(t *testing.T) {
	w := open(t)
	for _, test := range []struct {
		name   string
		choice Selection
		want   string // names, or a part of the error
	}{
		{"names", Selection{Names: []string{"tiny"}, Arch: "amd64"}, "tiny"},
		{"set", Selection{Set: "small", Arch: "x86_64"}, "tiny kernel-debug"},
		{"set without", Selection{Set: "small", Without: []string{" kernel-debug", ""}, Arch: "x86_64"}, "tiny"},
		{"all without", Selection{All: true, Without: []string{"tiny"}, Arch: "x86_64"}, "kernel-debug"},
		{"nothing", Selection{}, "no assets selected"},
		{"names and set", Selection{Names: []string{"tiny"}, Set: "small"}, "names or --set, not both"},
		{"names and all", Selection{Names: []string{"tiny"}, All: true}, "names or --all, not both"},
		{"set and all", Selection{Set: "small", All: true}, "--set or --all, not both"},
		{"names without", Selection{Names: []string{"tiny"}, Without: []string{"tiny"}}, "--without leaves assets out of a set"},
		{"unknown name", Selection{Names: []string{"tyny"}, Arch: "x86_64"}, `did you mean "tiny"?`},
		{"unknown set", Selection{Set: "smal", Arch: "x86_64"}, `did you mean "small"?`},
		{"unknown left out of the set", Selection{Set: "small", Without: []string{"tyny"}, Arch: "x86_64"}, "not in any release set"},
		{"unknown left out of all", Selection{All: true, Without: []string{"tyny"}, Arch: "x86_64"}, `did you mean "tiny"?`},
		{"unknown architecture", Selection{All: true, Arch: "x86-64"}, `did you mean "x86_64"?`},
		{"set on another architecture", Selection{Set: "small", Arch: "arm64"}, "no assets on aarch64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			names, arch, err := w.Select(test.choice)
			if err == nil {
				if got := strings.Join(names, " "); got != test.want && !slices.Contains(names, test.want) || arch != "x86_64" {
					t.Errorf("%s on %s, want %s", got, arch, test.want)
				}
				if test.choice.All && slices.Contains(names, "tiny") {
					t.Errorf("%v has what is left out", names)
				}
				return
			}
			if !strings.Contains(err.Error(), test.want) || !errors.As(err, new(*UsageError)) {
				t.Errorf("%v, want a usage error with %q", err, test.want)
			}
		})
	}
}

// TestEnvironment reads what Kata's CI sets.
func TestEnvironment(t *testing.T) {
	set := map[string]string{"ARTEFACT_REGISTRY": "ghcr.io/", "ARTEFACT_REGISTRY_USERNAME": "u", "ARTEFACT_REGISTRY_PASSWORD": "p", "USE_CACHE": "no", "RELEASE": "perhaps"}
	e := ReadEnvironment(func(name string) string { return set[name] })
	if e.Cache != "ghcr.io/kata-containers" {
		t.Errorf("cache %q", e.Cache)
	}
	if use, err := e.UseCache.On(true); use || err != nil {
		t.Errorf("USE_CACHE: %v, %v", use, err)
	}
	// A flag overrides the variable.
	if err := e.UseCache.Set("true"); err != nil {
		t.Error(err)
	}
	if use, err := e.UseCache.On(false); !use || err != nil {
		t.Errorf("the flag: %v, %v", use, err)
	}
	if err := e.UseCache.Set("perhaps"); err == nil {
		t.Error("a flag takes anything")
	}
	if push, err := e.Push.On(false); push || err != nil {
		t.Errorf("PUSH_TO_REGISTRY: %v, %v", push, err)
	}
	if _, err := e.Release.On(false); err == nil || err.Error() != `RELEASE is "perhaps": set it to yes or no` {
		t.Errorf("RELEASE: %v", err)
	}
}
