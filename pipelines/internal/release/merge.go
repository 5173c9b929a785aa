// Package release makes a release from the artifacts in the caches. A Job holds the
// inputs. Its Plan adds what GitHub and the registries have, and lists everything that
// prevents the release. Executing the Plan merges the tarballs of each set, pushes the
// images, uploads the files, and publishes last.
//
// It builds nothing: an artifact that no cache has, or that has no accepted proof, is a
// problem of the plan. Package sizes reports which components the bytes of a tarball
// belong to.
package release

import (
	"context"
	"fmt"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// The files that a merge adds.
const (
	versionMember = "./opt/kata/VERSION"
	pinsMember    = "./opt/kata/versions.yaml"
)

// Merge holds what decides the bytes of a merged tarball, and how large it may be.
type Merge struct {
	sizes.Merge
	// Pins is the content of versions.yaml.
	Pins []byte
	// Components are the tarballs, in the order of the set.
	Components []archive.Component
	// Cache is the folder of the caches: see archive.Options.
	Cache string
}

// MergePlan is a merge whose result is known to the byte but not written yet.
type MergePlan struct {
	Merged *archive.Merged
	Report sizes.Report
}

// Plan vets the components and reads their indexes. The error lists everything that
// prevents the merge: paths that two components have, naming both, members that would
// replace the host's own files, and dangling links. The size is not checked: see
// sizes.Report.Check.
func (m Merge) Plan(ctx context.Context) (*MergePlan, error) {
	extras := []archive.Extra{
		{Name: versionMember, Content: []byte(m.Version + "\n")},
		{Name: pinsMember, Content: m.Pins},
	}
	merged, err := archive.PlanMerge(ctx, m.Components, extras, archive.Options{
		ModTime: time.Unix(recipe.SourceDateEpoch, 0), Cache: m.Cache,
	})
	if err != nil {
		return nil, fmt.Errorf("merging %s on %s: %w", m.Set, m.Arch, err)
	}
	return &MergePlan{Merged: merged, Report: sizes.Of(m.Merge, merged)}, nil
}

// InPlace returns the digest of a file that already is the merged tarball, "" for any
// other.
func (p *MergePlan) InPlace(ctx context.Context, path string) (digest string, err error) {
	same, err := p.Merged.Same(ctx, path)
	if err != nil || !same {
		return "", err
	}
	return digestOfFile(ctx, path)
}

// Write writes the tarball to a file, which appears complete or not at all, and shows
// the bytes written on a stage. It leaves a file alone that already is the tarball, and
// returns changed as false.
func (p *MergePlan) Write(ctx context.Context, path string, stage *progress.Stage) (changed bool, err error) {
	if changed, err = p.Merged.Write(ctx, path, stage); err != nil {
		err = fmt.Errorf("merging %s on %s: %w", p.Report.Set, p.Report.Arch, err)
	}
	return changed, err
}

// Detail describes a tarball that was written.
func (p *MergePlan) Detail(changed bool) string {
	detail := fmt.Sprintf("%s, %s of the limit", progress.Size(p.Report.Size), p.Report.LimitShare())
	if !changed {
		detail += ", already in place"
	}
	return detail
}

func digestOfFile(ctx context.Context, path string) (string, error) {
	sum, _, err := files.Hash(ctx, path)
	return "sha256:" + sum, err
}

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
