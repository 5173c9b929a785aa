package release

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

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
