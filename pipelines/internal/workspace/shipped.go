package workspace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// installed is the folder that the assets of a release set install into.
const installed = "opt/kata/"

// shipped is a path of the tarball of an asset, or a pattern of paths.
type shipped struct {
	path  string
	asset catalog.Asset
}

// checkShipped refuses two assets of a release set that ship the same path. It knows the
// paths of imported assets from their declarations, and those of built ones from the local
// cache; a merge compares all of them.
func (w *Workspace) checkShipped(ctx context.Context) error {
	var problems []error
	for _, set := range w.Catalog.Sets {
		for _, arch := range slices.Sorted(maps.Keys(set.Components)) {
			paths, err := w.shipped(ctx, set.Components[arch], arch)
			if err != nil {
				return err
			}
			for i, p := range paths {
				if !strings.HasPrefix(p.path, installed) {
					problems = append(problems, fmt.Errorf("%s: %s ships %s, but %s (%s) may only have paths below %s",
						p.asset.Pos, p.asset.Name, p.path, set.Name, set.Pos, installed))
				}
				for _, other := range paths[:i] {
					if other.asset.Name != p.asset.Name && (foreign.Match(other.path, p.path) || foreign.Match(p.path, other.path)) {
						problems = append(problems, fmt.Errorf("%s: %s on %s: %s (%s) and %s (%s) ship the same path %s: leave one of them out of the set, or the path out of an import",
							set.Pos, set.Name, arch, other.asset.Name, other.asset.Pos, p.asset.Name, p.asset.Pos, p.path))
					}
				}
			}
		}
	}
	return errors.Join(problems...)
}

// shipped lists the paths of assets that are known without building them.
func (w *Workspace) shipped(ctx context.Context, names []string, arch catalog.Arch) (paths []shipped, err error) {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return nil, Usage(err)
	}
	for _, asset := range closure {
		if asset.Import == nil || !slices.Contains(names, asset.Name) {
			continue
		}
		plan, err := w.Resolve(asset, arch)
		if err != nil {
			return nil, err
		}
		for _, m := range build.Members(plan.Recipe, false) {
			if !strings.HasSuffix(m.From, "/") { // A folder may be in several assets.
				paths = append(paths, shipped{m.Target(), asset})
			}
		}
	}
	local := &store.Tiered{Local: w.Store.Local}
	// Its error names what is not in the cache.
	_ = w.Walk(names, arch, func(ref store.Ref) (store.Artifact, error) {
		artifact, err := local.Get(ctx, ref)
		asset, findErr := w.Catalog.Find(ref.Asset, arch)
		if err != nil || findErr != nil || asset.Import != nil || !slices.Contains(names, ref.Asset) {
			return artifact, err
		}
		file, err := local.Blob(ctx, artifact, "")
		if err != nil {
			return artifact, err
		}
		listing, err := archive.Inspect(file)
		for _, m := range listing.Members {
			if !m.Mode.IsDir() {
				paths = append(paths, shipped{strings.TrimPrefix(m.Name, "./"), asset})
			}
		}
		return artifact, err
	})
	return paths, nil
}
