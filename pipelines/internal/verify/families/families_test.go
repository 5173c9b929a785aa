package families_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/matrix"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/families"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// TestOf finds the checks of every asset of the tree that declares some.
func TestOf(t *testing.T) {
	root := filepath.Join("..", "..", "..", "..")
	tree := recipe.NewTree(os.DirFS(root))
	assets, err := catalog.Load(tree)
	if err != nil {
		t.Fatal(err)
	}
	pins, err := versions.Load(filepath.Join(root, "versions.yaml"), tree)
	if err != nil {
		t.Fatal(err)
	}
	resolver := recipe.Resolver{Versions: pins, Tree: tree}
	for _, asset := range assets.Assets {
		for _, arch := range asset.Arches {
			family, err := families.Of(resolver, asset, arch)
			switch {
			case asset.Verify == "" && asset.Kernel == nil:
				if err == nil || !strings.Contains(err.Error(), "declares no verify, which would be one of nydus, ovmf, qemu") {
					t.Errorf("%s on %s: %v", asset.Name, arch, err)
				}
			case err != nil:
				t.Errorf("%s on %s: %v", asset.Name, arch, err)
			case len(family.Layout()) == 0:
				t.Errorf("%s on %s: no files in its layout", asset.Name, arch)
			default:
				// What CI and a release require exists.
				required, _ := matrix.Required(asset, arch)
				if err := verify.Known(family, required); err != nil {
					t.Errorf("%s on %s: %v", asset.Name, arch, err)
				}
			}
		}
	}
}
