package release

import (
	"context"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Set says which release set to merge on its own, and what to compare it with.
type Set struct {
	// Name is the name of the set, Arch any name of the architecture, "" for that of
	// this machine. Without are assets to leave out.
	Name, Arch string
	Without    []string
	// From is the folder of the tarballs, "" for the caches. Partial tolerates missing
	// ones.
	From    string
	Partial bool
	// Previous is the file of an earlier tarball or report, "" for none. Limit is the
	// size that the tarball must stay below, "" for GitHub's.
	Previous, Limit string
}

// Plan finds the components of the set, plans their merge and compares its size. It
// does not check the size.
func (s Set) Plan(ctx context.Context, ws *workspace.Workspace) (*MergePlan, error) {
	merge := Merge{Merge: sizes.Merge{Set: s.Name, Catalog: ws.Catalog}, Pins: ws.Resolver.Versions.Data, Cache: ws.Cache}
	if s.Limit != "" {
		limit, err := catalog.ParseBytes(s.Limit)
		if err != nil {
			return nil, workspace.Usage(fmt.Errorf("--limit: %w", err))
		}
		merge.Limit = int64(limit)
	}
	var err error
	if merge.Arch, err = workspace.Arch(s.Arch); err != nil {
		return nil, err
	}
	set, err := ws.Set(s.Name, s.Without)
	if err != nil {
		return nil, err
	}
	if _, err := set.On(merge.Arch); err != nil {
		return nil, workspace.Usage(err)
	}
	if merge.Version, err = ws.Version(); err != nil {
		return nil, err
	}
	if merge.Components, merge.Missing, err = s.find(ctx, ws, set, merge.Arch); err != nil {
		return nil, err
	}
	stage := ws.Report.Stage(s.Name, "check")
	plan, err := merge.Plan(ctx)
	stage.End(err, "")
	if err != nil || s.Previous == "" {
		return plan, err
	}
	previous, err := sizes.Read(s.Previous)
	if err != nil {
		return nil, err
	}
	return plan, plan.Report.Compare(previous)
}

// find finds the tarballs of the set in the folder or in the caches.
func (s Set) find(ctx context.Context, ws *workspace.Workspace, set catalog.Set, arch catalog.Arch) (tarballs []archive.Component, missing []string, err error) {
	if s.From != "" {
		return setIn(workspace.Relative(s.From), ws.Catalog, set, arch, s.Partial)
	}
	components, err := Find(ctx, ws, set.Components[arch], arch)
	if err != nil {
		return nil, nil, err
	}
	var there []Component
	for _, c := range components {
		if c.State == build.Hit {
			there = append(there, c)
		} else {
			missing = append(missing, c.Asset)
		}
	}
	if err := Missing(components); err != nil && (!s.Partial || len(there) == 0) {
		return nil, nil, fmt.Errorf("%w\nor take the tarballs of a folder, such as those of build-asset with --source: --from FOLDER", err)
	}
	tarballs, err = Tarballs(ctx, ws.Store, there)
	return tarballs, missing, err
}
