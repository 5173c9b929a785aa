package families_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/matrix"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/families"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// TestOf finds the checks of every asset of the tree.
func TestOf(t *testing.T) {
	root := filepath.Join("..", "..", "..", "..")
	tree := recipe.NewTree(os.DirFS(root))
	assets, err := catalog.Load(tree)
	require.NoError(t, err)
	pins, err := versions.Load(filepath.Join(root, "versions.yaml"), tree)
	require.NoError(t, err)
	resolver := recipe.Resolver{Versions: pins, Tree: tree}
	for _, asset := range assets.Assets {
		for _, arch := range asset.Arches {
			proof, err := families.Of(resolver, asset, arch)
			if err != nil {
				t.Errorf("%s on %s: %v", asset.Name, arch, err)
				continue
			}
			own := asset.Verify != "" || asset.Kernel != nil
			if own != (proof.Family != nil) || own && len(proof.Family.Layout()) == 0 {
				t.Errorf("%s on %s: got the family %+v", asset.Name, arch, proof.Family)
			}
			// What CI and a release require exists, once.
			required, _ := matrix.Required(asset.On(arch), arch)
			if err := verify.Known(proof, required); err != nil {
				t.Errorf("%s on %s: %v", asset.Name, arch, err)
			}
			if names := slices.Sorted(slices.Values(proof.Checks())); len(slices.Compact(names)) != len(proof.Checks()) {
				t.Errorf("%s on %s: a check has the name of another: %q", asset.Name, arch, proof.Checks())
			}
		}
	}
}
