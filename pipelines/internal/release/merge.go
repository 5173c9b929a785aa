// Package release makes a release of components: it merges the tarballs of a set into
// one, holds that to the size that GitHub takes, and publishes tarballs, images and
// notes.
package release

import (
	"context"
	"fmt"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// The files that a merge adds.
const (
	versionMember = "./opt/kata/VERSION"
	pinsMember    = "./opt/kata/versions.yaml"
)

// mergeLevel is that of what a merge compresses itself: tarballs without an index
// are compressed as well as those of builds.
const mergeLevel = 3

// Merge is what decides the bytes of a merged tarball, and how big it may be.
type Merge struct {
	sizes.Merge
	// Pins is the content of versions.yaml.
	Pins []byte
	// Components are the tarballs, in the order of the set.
	Components []archive.Component
	// Cache is the folder for verdicts and copies: see archive.Options.
	Cache string
}

// MergePlan is a merge whose result is known to the byte, and not written.
type MergePlan struct {
	Merged *archive.Merged
	Report sizes.Report
}

// Plan vets the components and reads their indexes. The error says what stands in the way of
// a merge, naming both components: a path in both, members on the host's
// own files, links to nothing. The size is not checked: see sizes.Report.Check.
func (m Merge) Plan(ctx context.Context) (*MergePlan, error) {
	extras := []archive.Extra{
		{Name: versionMember, Content: []byte(m.Version + "\n")},
		{Name: pinsMember, Content: m.Pins},
	}
	merged, err := archive.PlanMerge(ctx, m.Components, extras, archive.Options{
		Level: mergeLevel, ModTime: time.Unix(recipe.SourceDateEpoch, 0), Cache: m.Cache,
	})
	if err != nil {
		return nil, fmt.Errorf("merging %s on %s: %w", m.Set, m.Arch, err)
	}
	return &MergePlan{Merged: merged, Report: sizes.Of(m.Merge, merged)}, nil
}

// MergedTarball is one that is in place.
type MergedTarball struct {
	Set  string       `json:"set"`
	Arch catalog.Arch `json:"arch"`
	Path string       `json:"path"`
	// Size is the length in bytes.
	Size int64 `json:"size"`
	// Changed is false if the file was there already.
	Changed bool `json:"changed"`
}

// Write writes the tarball to a file, which appears complete or not at all. One that
// has the right content already is left alone. The stage shows the bytes written.
func (p *MergePlan) Write(ctx context.Context, out string, stage *progress.Stage) (MergedTarball, error) {
	changed, err := p.Merged.Write(ctx, out, stage)
	if err != nil {
		return MergedTarball{}, fmt.Errorf("merging %s on %s: %w", p.Report.Set, p.Report.Arch, err)
	}
	return MergedTarball{Set: p.Report.Set, Arch: p.Report.Arch, Path: out, Size: p.Merged.Size, Changed: changed}, nil
}
