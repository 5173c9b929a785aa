package supply

import (
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// TestLicenses: every source of every asset that is built here has a license in the lock,
// and a release ships those of libraries that imported programs contain.
func TestLicenses(t *testing.T) {
	w, err := workspace.Open(t.Context(), workspace.Options{Root: "../../..", CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	names := map[catalog.Arch][]string{}
	for _, arch := range catalog.Arches() {
		names[arch] = w.Catalog.On(arch)
	}
	b, err := NewBundle(w, names, true)
	if err != nil {
		t.Fatal(err)
	}
	has := func(path string) bool {
		return slices.ContainsFunc(b.set.Sources, func(d workspace.Declared) bool { return d.Path == path })
	}
	for _, path := range []string{"assets.kernel.linux", "externals.virtiofsd.virtiofsd", "externals.libseccomp.libseccomp", "externals.libseccomp.signature"} {
		if !has(path) {
			t.Errorf("the bundle lacks %s", path)
		}
	}
	for _, d := range b.set.Sources {
		if strings.HasPrefix(d.Path, "externals.kata-static") {
			t.Errorf("the bundle has %s, which is imported", d.Path)
		}
	}
}
