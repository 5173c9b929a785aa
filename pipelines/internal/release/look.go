package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// look finds out what GitHub has, and plans what happens to the page. The error says
// why the release is refused.
func (p *Plan) look(ctx context.Context) error {
	p.newest = !semver.Prerelease(p.Version)
	if p.job.GitHub == nil {
		return nil
	}
	if !p.job.GitHub.Authorized() {
		p.problem(fmt.Errorf("no token: set GH_TOKEN or GITHUB_TOKEN to one that may write the contents of %s; without it a draft is invisible", p.job.GitHub.Repository()))
	}
	err := p.job.GitHub.CheckName(ctx)
	if err == nil && p.Commit != "" {
		err = p.checkCommit(ctx)
	}
	if err == nil {
		err = p.lookBefore(ctx)
	}
	if err == nil {
		err = p.lookAt(ctx)
	}
	p.URL, p.Latest = p.page.URL, p.newest && !p.job.KeepDraft
	p.Publish = !p.job.KeepDraft && (p.page.ID == 0 || p.page.Draft)
	switch {
	case p.page.ID == 0:
		p.Page = "create"
	case p.page.Draft:
		p.Page = "change"
	}
	return err
}

func (p *Plan) lookAt(ctx context.Context) (err error) {
	p.page, err = p.job.GitHub.Find(ctx, p.Version)
	if errors.Is(err, github.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if p.there, err = p.job.GitHub.Assets(ctx, p.page); err != nil || p.page.Draft || p.job.Force {
		return err
	}
	var missing []string
	for _, file := range p.Files {
		if !slices.ContainsFunc(p.there, func(asset github.Asset) bool { return asset.Name == file.Name && asset.Whole() }) {
			missing = append(missing, file.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: %w without %s: make a release of another version, or add them with --force", p.page.URL, github.ErrPublished, strings.Join(missing, ", "))
	}
	p.Finished = true
	return nil
}

// lookBefore finds the previous release, the highest below this one, and whether this
// one will be the latest: no higher one is published.
func (p *Plan) lookBefore(ctx context.Context) error {
	releases, err := p.job.GitHub.Releases(ctx)
	if err != nil {
		return err
	}
	for _, release := range releases {
		switch {
		case release.Draft, release.Prerelease, !semver.Valid(release.Tag):
		case semver.Newer(release.Tag, p.Version):
			p.newest = false
		case release.Tag == p.Version:
		case p.previous == nil, semver.Newer(release.Tag, p.previous.Tag):
			p.previous = &release
		}
	}
	if p.previous != nil {
		p.before, err = p.job.GitHub.Assets(ctx, *p.previous)
	}
	return err
}

// checkCommit refuses a version that belongs to another commit, and a commit that
// GitHub does not have: it could not be tagged.
func (p *Plan) checkCommit(ctx context.Context) error {
	tagged, err := p.job.GitHub.Commit(ctx, "tags/"+p.Version)
	switch {
	case err == nil && tagged == p.Commit:
		return nil
	case err == nil:
		return fmt.Errorf("the tag %s of %s is commit %s, but this tree is %s: raise VERSION, or check out that commit", p.Version, p.job.GitHub.Repository(), tagged, p.Commit)
	case !errors.Is(err, github.ErrNotFound):
		return err
	}
	if _, err := p.job.GitHub.Commit(ctx, p.Commit); errors.Is(err, github.ErrNotFound) {
		return fmt.Errorf("%s has no commit %s: push it first (%w)", p.job.GitHub.Repository(), p.Commit, err)
	} else if err != nil {
		return err
	}
	return nil
}

func (p *Plan) fetch(ctx context.Context, name string) ([]byte, error) {
	i := slices.IndexFunc(p.before, func(asset github.Asset) bool { return asset.Name == name && asset.Whole() })
	if i < 0 || p.before[i].Size > sizes.MaxReport {
		return nil, fmt.Errorf("it has no %s", name)
	}
	return p.job.GitHub.Download(ctx, p.before[i])
}

// compare compares a merge with the previous release. It only reports a failure, since
// nothing depends on the comparison.
func (p *Plan) compare(ctx context.Context, report *sizes.Report) {
	if p.previous == nil {
		return
	}
	tag := p.previous.Tag
	content, err := p.fetch(ctx, reportFile(PublishedFile(report.Set, tag, report.Arch)))
	var previous sizes.Report
	if err == nil {
		previous, err = sizes.Parse(bytes.NewReader(content))
	}
	if err == nil {
		err = report.Compare(previous)
	}
	if err != nil {
		p.job.Report.Note("release", fmt.Sprintf("the growth since %s is unknown: %v", tag, err))
	}
}

// pins returns the changes since the versions.yaml of the previous release, or why they
// are not known.
func (p *Plan) pins(ctx context.Context) (changes []PinChange, unknown string) {
	name := pinsFile(p.previous.Tag)
	content, err := p.fetch(ctx, name)
	var before *versions.File
	if err == nil {
		before, err = versions.Parse(name, content)
	}
	if err != nil {
		p.job.Report.Note("release", fmt.Sprintf("the pins of %s are unknown: %v", p.previous.Tag, err))
		return nil, name + " of that release cannot be read"
	}
	return ComparePins(before, p.job.Versions), ""
}
