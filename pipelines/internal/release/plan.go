package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
	Files      []PlannedFile  `json:"files"`
	Images     []PlannedImage `json:"images"`
	// Cache is the registry that artifacts are pushed to, "" for none.
	Cache string `json:"cache"`
	// Page is what happens to the release on GitHub: "create", "change", or "".
	// Publish is true if it becomes public, Latest if it is the latest one then.
	Page    string `json:"page"`
	Publish bool   `json:"publish"`
	Latest  bool   `json:"latest"`

	job    *Job
	github state
	merges []*MergePlan
	errs   []error
}

// PlannedFile is a file of a release.
type PlannedFile struct {
	Name string `json:"name"`
	// Size is in bytes; unless Exact, it is the sum of the components' tarballs,
	// which is a little more.
	Size  int64 `json:"size"`
	Exact bool  `json:"exact"`
	// Action is what GitHub's copy needs, "compare" as long as that is not known, ""
	// if nothing is sent to GitHub.
	Action github.Action `json:"action"`

	digest string // "" as long as it is not known
}

// compare is the action for a file whose content is not known yet.
const compare github.Action = "compare"

// Plan decides what is to be done. It changes nothing, but pulls what only the registry
// has into the local store. An error is a failure to look; what stands in the way of
// the release is in Problems.
func (j *Job) Plan(ctx context.Context) (*Plan, error) {
	p := &Plan{
		job: j, Version: j.Version, Commit: j.Commit, Cache: j.PushTo, Problems: []string{}, Components: j.Components, Files: []PlannedFile{}, Images: []PlannedImage{},
	}
	p.problem(j.Problems...)
	if j.Commit == "" && len(j.Problems) == 0 {
		p.problem(errors.New("a release is of a commit: commit what it is made from"))
	}
	if j.GitHub != nil && !j.GitHub.Authorized() {
		p.problem(fmt.Errorf("no token: set GH_TOKEN or GITHUB_TOKEN to one that may write the contents of %s; without it a draft is invisible", j.GitHub.Repository()))
	}
	p.page(ctx)
	if p.Finished {
		p.Components, p.Cache = []Component{}, ""
		return p, ctx.Err()
	}
	var unready []error
	for _, arch := range j.Arches {
		unready = append(unready, Missing(j.on(arch)), Unproven(j.on(arch)))
	}
	if !j.BeforeBuild {
		p.problem(unready...)
	}
	if err := p.planImages(ctx); err != nil {
		return nil, err
	}
	// Nothing is pulled for a release that is refused anyway.
	exact := len(p.errs) == 0 && errors.Join(unready...) == nil
	for _, arch := range j.Arches {
		for _, set := range j.sets(arch) {
			if err := p.planTarball(ctx, set, arch, exact); err != nil {
				return nil, err
			}
		}
	}
	p.Files = append(p.Files, fileOf(pinsFile(j.Version), j.Pins))
	p.planSums()
	for i, file := range p.Files {
		p.Files[i].Action = p.action(file)
	}
	return p, ctx.Err()
}

// problem adds what stands in the way.
func (p *Plan) problem(errs ...error) {
	for _, err := range errs {
		if err != nil {
			p.errs, p.Problems = append(p.errs, err), append(p.Problems, err.Error())
		}
	}
}

// Err returns all that stands in the way of the release.
func (p *Plan) Err() error { return errors.Join(p.errs...) }

// page plans what happens on GitHub.
func (p *Plan) page(ctx context.Context) {
	s, err := p.job.look(ctx)
	p.github = s
	p.problem(err)
	if p.job.GitHub == nil {
		return
	}
	p.Finished, p.URL, p.Latest = s.finished, s.release.URL, s.latest && !p.job.KeepDraft
	p.Publish = !p.job.KeepDraft && (s.release.ID == 0 || s.release.Draft)
	switch {
	case s.release.ID == 0:
		p.Page = "create"
	case s.release.Draft:
		p.Page = "change"
	}
}

// planTarball plans a merged tarball and its report: if exact to the byte, otherwise by
// the sizes of the components.
func (p *Plan) planTarball(ctx context.Context, set catalog.Set, arch catalog.Arch, exact bool) error {
	j := p.job
	name := PublishedFile(set.Name, j.Version, arch)
	components := j.of(set, arch)
	if !exact {
		file := PlannedFile{Name: name}
		for _, c := range components {
			file.Size += c.Size
		}
		if limit := cmp.Or(j.Limit, sizes.Limit); file.Size >= limit {
			p.problem(fmt.Errorf("%s would be about %d bytes long, and must stay below %d", name, file.Size, limit))
		}
		p.Files = append(p.Files, file, PlannedFile{Name: reportFile(name)})
		return nil
	}
	tarballs, err := Tarballs(ctx, j.Store, components)
	if err != nil {
		return err
	}
	merge, err := Merge{
		Merge: sizes.Merge{Set: set.Name, Arch: arch, Version: j.Version, Catalog: j.Catalog, Limit: j.Limit},
		Pins:  j.Pins, Components: tarballs, Cache: j.Cache,
	}.Plan(ctx)
	if err != nil {
		p.problem(err)
		p.Files = append(p.Files, PlannedFile{Name: name}, PlannedFile{Name: reportFile(name)})
		return context.Cause(ctx)
	}
	report, err := contentOf(merge)
	if err != nil {
		return err
	}
	if err := p.compare(ctx, merge); err != nil {
		return err
	}
	p.problem(merge.Report.Check(j.Strict))
	p.merges = append(p.merges, merge)
	file := PlannedFile{Name: name, Size: merge.Report.Size, Exact: true}
	if file.digest, err = merge.InPlace(ctx, j.path(name)); err != nil {
		return err
	}
	p.Files = append(p.Files, file, fileOf(reportFile(name), report))
	return nil
}

// compare compares a merge with the previous release, and warns about budgets.
func (p *Plan) compare(ctx context.Context, merge *MergePlan) error {
	j := p.job
	previous, err := p.previousReport(ctx, merge.Report.Set, merge.Report.Arch)
	if err != nil {
		return err
	}
	if previous != nil {
		if err := merge.Report.Compare(previous); err != nil {
			j.Report.Note("release", fmt.Sprintf("the growth since %s is unknown: %v", p.github.previous.Tag, err))
		}
	}
	if !j.Strict {
		for _, text := range merge.Report.OverBudget() {
			j.Report.Note("release", "warning: "+text)
		}
	}
	return nil
}

// planSums plans SHA256SUMS, which is known once all other files are.
func (p *Plan) planSums() {
	sums := PlannedFile{Name: SumsName}
	var all []github.File
	for _, file := range p.Files {
		all = append(all, github.File{Name: file.Name, Digest: file.digest})
	}
	if !slices.ContainsFunc(p.Files, func(f PlannedFile) bool { return f.digest == "" }) {
		sums = fileOf(SumsName, Sums(all))
	}
	p.Files = append(p.Files, sums)
}

// action returns what a file needs on GitHub.
func (p *Plan) action(file PlannedFile) github.Action {
	if p.job.GitHub == nil {
		return ""
	}
	i := slices.IndexFunc(p.github.there, func(asset github.Asset) bool { return asset.Name == file.Name })
	switch {
	case i < 0:
		return github.Upload
	case !p.github.there[i].Whole():
		return github.Resume
	case file.digest == "" || p.github.there[i].Digest == "":
		return compare
	case file.digest == p.github.there[i].Digest:
		return github.Keep
	}
	return github.Replace
}

// path returns where a file of the release is written.
func (j *Job) path(name string) string { return filepath.Join(j.Output, name) }
