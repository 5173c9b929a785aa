package release

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// fetch downloads a small file of the previous release; nil if there is none.
func (p *Plan) fetch(ctx context.Context, name string) ([]byte, error) {
	i := slices.IndexFunc(p.github.assets, func(asset github.Asset) bool { return asset.Name == name && asset.Whole() })
	if i < 0 || p.github.assets[i].Size > sizes.MaxReport {
		return nil, nil
	}
	content, err := p.job.GitHub.Download(ctx, p.github.assets[i])
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return content, err
}

// previousReport returns what the previous release says about a tarball, nil if it says
// nothing that this program understands: nothing depends on it.
func (p *Plan) previousReport(ctx context.Context, set string, arch catalog.Arch) (*sizes.Previous, error) {
	if p.github.previous == nil {
		return nil, nil
	}
	tag := p.github.previous.Tag
	content, err := p.fetch(ctx, reportFile(PublishedFile(set, tag, arch)))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err == nil && content == nil {
		return nil, nil
	}
	var previous *sizes.Previous
	if err == nil {
		previous, err = sizes.ParsePrevious(bytes.NewReader(content))
	}
	if err != nil {
		p.job.Report.Note("release", fmt.Sprintf("the growth since %s is unknown: %v", tag, err))
		return nil, nil
	}
	return previous, nil
}

// previousPins returns the changes since the versions.yaml of the previous release, or
// why they are not known.
func (p *Plan) previousPins(ctx context.Context) (changes []PinChange, unknown string, err error) {
	name := pinsFile(p.github.previous.Tag)
	content, err := p.fetch(ctx, name)
	switch {
	case ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	case err != nil:
		p.job.Report.Note("release", err.Error())
		return nil, "downloading " + name + " of that release failed", nil
	case content == nil:
		return nil, "that release has no " + name, nil
	}
	before, _, err := versions.Parse(name, content)
	if err != nil {
		p.job.Report.Note("release", err.Error())
		return nil, name + " of that release cannot be read", nil
	}
	return ComparePins(before, p.job.Versions), "", nil
}
