//go:build integration

package bump

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
)

// The repository's own pins, with the real index of Debian, proxy of Go modules and registry
// of crates.
func TestRealPlaces(t *testing.T) {
	root := t.TempDir()
	b := &Bumper{
		Path: filepath.Join(root, "versions.yaml"), Lock: filepath.Join(root, "sources.yaml"),
		Sources: &source.Fetcher{Dir: t.TempDir(), Debian: &debian.Resolver{StateDir: t.TempDir()}, Cargo: cargo.NewConfig(os.Environ())},
	}
	for to, from := range map[string]string{b.Path: "versions.yaml", b.Lock: "assets/sources.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, to, string(data))
	}
	for pin, place := range map[string]string{"assets.kernel": "debian", "externals.nydus-snapshotter": "go", "externals.virtiofsd": "crates"} {
		entries, err := b.Select(pin)
		if err != nil {
			t.Fatal(err)
		}
		list, err := b.Check(t.Context(), entries)
		if err != nil || len(list) != 1 || !slices.Contains(list[0].Places, place) || mustParse(t, list[0].Newest).compare(mustParse(t, list[0].Version)) < 0 {
			t.Errorf("%s: %+v, %v", pin, list, err)
		}
	}
	moved, err := b.Bump(t.Context(), "virtiofsd", "v1.13.2")
	if err != nil || len(moved) != 1 || len(moved[0].Places) != 1 || moved[0].Places[0].Checked == "" {
		t.Errorf("moved %+v, %v", moved, err)
	}
}
