package workspace

import (
	"context"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Artifact returns the artifact that the caches have for the key of an asset, which
// contains the digests of its dependencies.
func (w *Workspace) Artifact(ctx context.Context, asset catalog.Asset, arch catalog.Arch) (artifact store.Artifact, err error) {
	closure, err := w.Catalog.Closure([]string{asset.Name}, arch)
	if err != nil {
		return artifact, err
	}
	digests := map[string]recipe.Digests{}
	for _, needed := range closure { // Dependencies come first.
		plan, err := w.Resolver.Resolve(needed, arch, digests)
		if err != nil {
			return artifact, err
		}
		artifact, err = w.Store.Get(ctx, store.Ref{Asset: needed.Name, Arch: string(arch), Key: plan.Key})
		if store.IsNotFound(err) {
			return artifact, fmt.Errorf("the caches have no %s for %s with the key %.12s: run `build-asset %s`, or name a tarball with --file",
				needed.Name, arch, plan.Key, needed.Name)
		}
		if err != nil {
			return artifact, err
		}
		of := recipe.Digests{Tarball: artifact.Digest, Outputs: map[string]string{}}
		for _, output := range artifact.Outputs {
			of.Outputs[output.Name] = output.Digest
		}
		digests[needed.Name] = of
	}
	return artifact, nil
}
