package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// Plan is what a Job is going to do: what --dry-run prints and Execute does.
type Plan struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Problems are the reasons why Execute refuses.
	Problems []string `json:"problems"`
	// Finished is true if everything is published already, at URL.
	Finished   bool           `json:"finished"`
	URL        string         `json:"url"`
	Components []Component    `json:"assets"`
	Files      []File         `json:"files"`
	Images     []PlannedImage `json:"images"`
	// Cache is the registry that artifacts are pushed to, "" for none.
	Cache string `json:"cache"`
	// Page is what happens to the release on GitHub: "create", "change", or "". Publish
	// is true if it becomes public, Latest if it becomes the latest release.
	Page    string `json:"page"`
	Publish bool   `json:"publish"`
	Latest  bool   `json:"latest"`

	job  *Job
	errs []error
	// page is the release of this version on GitHub, with its files in there; its ID is
	// 0 if there is none. previous is the release before this one, nil for none, with
	// its files in before.
	page     github.Release
	there    []github.Asset
	previous *github.Release
	before   []github.Asset
	// newest is true if no release above this one is published.
	newest bool
}

// Plan decides what to do. It changes nothing, except that it pulls artifacts into the
// local store. An error is a failure to look; the reasons not to release are in
// Problems.
func (j *Job) Plan(ctx context.Context) (*Plan, error) {
	p := &Plan{
		job: j, Version: j.Version, Commit: j.Commit, Cache: j.PushTo, Problems: []string{}, Components: j.Components, Files: j.files(), Images: []PlannedImage{},
	}
	p.problem(j.Problems...)
	if j.Commit == "" && len(j.Problems) == 0 {
		p.problem(errors.New("a release needs a commit: commit its inputs"))
	}
	p.problem(p.look(ctx))
	if err := p.planImages(ctx); err != nil {
		return nil, err
	}
	// The page is published last. But somebody may have published it by hand, before
	// the images had their tags, or another repository may have been added since.
	if slices.ContainsFunc(p.Images, func(image PlannedImage) bool { return !image.tagged() }) {
		p.Finished = false
	}
	if p.Finished {
		p.Components, p.Files, p.Images, p.Cache = []Component{}, []File{}, []PlannedImage{}, ""
		return p, ctx.Err()
	}
	if err := p.planFiles(ctx); err != nil {
		return nil, err
	}
	return p, ctx.Err()
}

// planFiles plans the files: to the byte only if all components are in the caches.
func (p *Plan) planFiles(ctx context.Context) error {
	j := p.job
	var unready []error
	for _, arch := range j.Arches {
		p.problem(PubliclySigned(j.on(arch)), Unreleasable(j.on(arch)))
		if j.BeforeBuild {
			p.problem(Unreachable(j.on(arch))) // Nothing is built for a release that is refused anyway.
		}
		unready = append(unready, Missing(j.on(arch)), Unproven(j.on(arch)))
	}
	if !j.BeforeBuild {
		p.problem(unready...)
	}
	// Nothing is pulled for a release that is refused anyway.
	exact := len(p.errs) == 0 && errors.Join(unready...) == nil
	for _, arch := range j.Arches {
		for _, set := range j.sets(arch) {
			if err := p.planTarball(ctx, set, arch, exact); err != nil {
				return err
			}
		}
	}
	p.file(pinsFile(j.Version)).fill(j.Versions.Data)
	p.file(proofsFile(j.Version)).fill(j.proofs())
	sums := slices.IndexFunc(p.Files, func(f File) bool { return f.Name == SumsName })
	if others := p.Files[:sums]; !slices.ContainsFunc(others, func(f File) bool { return f.Digest == "" }) {
		p.file(SumsName).fill(Sums(others))
	}
	if j.GitHub != nil {
		for i := range p.Files {
			p.Files[i].Action, _ = p.Files[i].File.Action(p.there)
		}
	}
	return nil
}

func (p *Plan) file(name string) *File {
	return &p.Files[slices.IndexFunc(p.Files, func(f File) bool { return f.Name == name })]
}

func (p *Plan) problem(errs ...error) {
	for _, err := range errs {
		if err != nil {
			p.errs, p.Problems = append(p.errs, err), append(p.Problems, err.Error())
		}
	}
}

// Err returns all reasons not to release.
func (p *Plan) Err() error { return errors.Join(p.errs...) }

// planTarball plans a merged tarball and its report. If exact is false it only
// estimates the size, from those of the components.
func (p *Plan) planTarball(ctx context.Context, set catalog.Set, arch catalog.Arch, exact bool) error {
	j := p.job
	tarball := p.file(PublishedFile(set.Name, j.Version, arch))
	components := j.of(set, arch)
	if !exact {
		for _, c := range components {
			tarball.Size += c.Size
		}
		if limit := cmp.Or(j.Limit, sizes.Limit); tarball.Size >= limit {
			p.problem(fmt.Errorf("%s would be about %d bytes long, and must stay below %d", tarball.Name, tarball.Size, limit))
		}
		return nil
	}
	tarballs, err := Tarballs(ctx, j.Store, components)
	if err != nil {
		return err
	}
	merge, err := Merge{
		Merge: sizes.Merge{Set: set.Name, Arch: arch, Version: j.Version, Catalog: j.Catalog, Limit: j.Limit},
		Pins:  j.Versions.Data, Components: tarballs, Cache: j.Cache,
	}.Plan(ctx)
	if err != nil {
		p.problem(err)
		return context.Cause(ctx)
	}
	content, err := published(merge.Report)
	if err != nil {
		return err
	}
	p.file(reportFile(tarball.Name)).fill(content)
	tarball.merge, tarball.Size, tarball.Exact = merge, merge.Report.Size, true
	if tarball.Digest, err = merge.InPlace(ctx, tarball.Path); err != nil {
		return err
	}
	p.compare(ctx, &merge.Report)
	p.problem(merge.Report.Check(j.Strict))
	if !j.Strict {
		for _, text := range merge.Report.OverBudget() {
			j.Report.Note("release", "warning: "+text)
		}
	}
	return context.Cause(ctx)
}
