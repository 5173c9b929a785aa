package release

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// bring brings the tarballs of all assets about.
func (r *run) bring(ctx context.Context) error {
	for _, arch := range r.Arches {
		tarballs, err := r.Tarballs(ctx, r.components(arch), arch, r.folder(arch))
		if err != nil {
			return fmt.Errorf("bringing the assets for %s: %w", arch, err)
		}
		r.tarballs[arch] = tarballs
	}
	return nil
}

// of returns the tarballs of some assets, in the order of the names.
func (r *run) of(names []string, arch catalog.Arch) ([]Tarball, error) {
	var tarballs []Tarball
	for _, name := range names {
		i := slices.IndexFunc(r.tarballs[arch], func(t Tarball) bool { return t.Asset == name })
		if i < 0 {
			return nil, fmt.Errorf("the tarball of %s for %s was not brought", name, arch)
		}
		tarballs = append(tarballs, r.tarballs[arch][i])
	}
	return tarballs, nil
}

// merge plans all merges, and writes the merged tarballs if nothing stands in the
// way of any.
func (r *run) merge(ctx context.Context) error {
	var problems []error
	for _, arch := range r.Arches {
		for _, set := range r.sets(arch) {
			plan, err := r.plan(ctx, set, arch)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			problems = append(problems, err)
			r.plans = append(r.plans, plan)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	for _, plan := range r.plans {
		if err := r.write(ctx, plan); err != nil {
			return err
		}
	}
	return nil
}

// plan plans one merge, and holds it to the limit and the budgets.
func (r *run) plan(ctx context.Context, set catalog.Set, arch catalog.Arch) (*MergePlan, error) {
	tarballs, err := r.of(set.Components[arch], arch)
	if err != nil {
		return nil, err
	}
	merge := Merge{
		Merge: sizes.Merge{Set: set.Name, Arch: arch, Version: r.Version, Catalog: r.Catalog, Limit: r.Limit},
		Pins:  r.Pins, Cache: r.Cache,
	}
	for _, tarball := range tarballs {
		merge.Components = append(merge.Components, archive.Component{Name: tarball.Asset, Path: tarball.Path, Digest: strings.TrimPrefix(tarball.Digest, "sha256:")})
	}
	plan, err := merge.Plan(ctx)
	if err != nil {
		return nil, err
	}
	previous, err := r.previousReport(ctx, set.Name, arch)
	if err != nil {
		return nil, err
	}
	if previous != nil {
		if err := plan.Report.Compare(previous); err != nil {
			r.Report.Note("release", fmt.Sprintf("what grew since %s is not known: %v", r.github.previous.Tag, err))
		}
	}
	if !r.Strict {
		for _, text := range plan.Report.OverBudget() {
			r.Report.Note("release", "warning: "+text)
		}
	}
	return plan, plan.Report.Check(r.Strict)
}

// write writes a merged tarball, unless it is there.
func (r *run) write(ctx context.Context, plan *MergePlan) error {
	name := PublishedFile(plan.Report.Set, r.Version, plan.Report.Arch)
	stage := r.Report.Stage(name, "merge")
	merged, err := plan.Write(ctx, filepath.Join(r.Output, name), stage)
	digest := ""
	if err == nil {
		digest, err = digestOf(merged.Path)
	}
	detail := progress.Size(merged.Size)
	if !merged.Changed {
		detail += ", already in place"
	}
	stage.End(err, detail)
	if err != nil {
		return err
	}
	r.file(name, merged.Path, merged.Size, digest)
	return nil
}
