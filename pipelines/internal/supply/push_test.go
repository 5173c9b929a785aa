package supply

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// set returns one with a registry, and the folder of its local store.
func set(t *testing.T) (s *Set, dir string) {
	t.Helper()
	registry, err := store.OpenRegistry(registrytest.New(t)+"/kata/cache", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	return &Set{
		Fetcher: &source.Fetcher{Dir: t.TempDir()},
		Store:   &store.Tiered{Local: store.Open(dir, nil), Registry: registry},
	}, dir
}

// A file that a person names is pushed under the hash that it has.
func TestPushGivenFile(t *testing.T) {
	s, _ := set(t)
	path := filepath.Join(t.TempDir(), "tiny.tar")
	if err := os.WriteFile(path, []byte("a source\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	place := versions.Place{
		Name: "upstream", URL: "https://unreachable.invalid/tiny.tar",
		SHA256: "4939f2f9ffe14e16351ba6817058ea8acf1cae19c22cd74b20ca35856b9d9b9c",
	}
	s.Sources = []workspace.Declared{{Path: "tiny", Source: versions.Source{Name: "tiny", Places: []versions.Place{place}}}}
	s.Fetcher.Local = map[string]string{"tiny": path}
	for _, want := range []State{PushedNow, There} {
		list, err := s.Push(t.Context())
		if err != nil || len(list) != 1 || list[0] != (Pushed{"tiny", "upstream", want}) {
			t.Errorf("pushed %+v, %v; want %s", list, err, want)
		}
	}
}

// A builder that cannot be pushed keeps no other from being pushed.
func TestPushBuildersGoesOn(t *testing.T) {
	s, dir := set(t)
	if err := os.WriteFile(filepath.Join(dir, "builder"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, asset := range []string{"one", "two"} {
		r := recipe.Recipe{Asset: asset, Arch: string(catalog.HostArch())}
		r.Builder.Suite = asset
		s.Recipes = append(s.Recipes, r)
	}
	_, err := s.Push(t.Context())
	for _, want := range []string{`builder of "one"`, `builder of "two"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}
