package release

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sbom"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Released is the result of a release.
type Released struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// URL is the page of the release, "" if it is not on GitHub; Draft is true if it
	// is not public.
	URL   string `json:"url"`
	Draft bool   `json:"draft"`
	Files []File `json:"files"`
	// Images are the images and the index of each repository.
	Images []ReleasedImage `json:"images"`
	// Finished is true if an earlier run had published everything already: then this
	// one did nothing, and Files and Images are empty.
	Finished bool `json:"finished"`
}

// ReleasedImage is an image or, without an architecture, the index of all images. Name is
// that of PlannedImage.
type ReleasedImage struct {
	Name   string `json:"name,omitempty"`
	GoArch string `json:"goarch,omitempty"`
	payload.Pushed
}

type run struct {
	job   *Job
	plan  *Plan
	notes string
	// chart is the chart with the pushed images, nil if there is none.
	chart *chart.Chart
	// inImages are the components of the images, by name and architecture.
	inImages map[string][]Component
	// documents are those about the artifacts, by asset and architecture.
	documents map[string]*sbom.Document
	// page is the release on GitHub that the files are uploaded to.
	page     github.Release
	released Released
}

// Execute makes the release, unless the plan has problems. Every step does only what is
// missing, so the next run finishes what a killed one began. What users see changes
// last: the tags of the images, then the page. It holds a lock on the output folder.
func (p *Plan) Execute(ctx context.Context) (Released, error) {
	r := &run{job: p.job, plan: p, documents: map[string]*sbom.Document{}, inImages: map[string][]Component{}, released: Released{Version: p.Version, Commit: p.Commit, Files: []File{}, Images: []ReleasedImage{}}}
	if err := p.Err(); err != nil {
		return r.released, err
	}
	if p.job.BeforeBuild {
		return r.released, errors.New("refusing to execute a plan that accepts missing and unproven assets")
	}
	if p.Finished {
		r.released.URL, r.released.Finished = p.URL, true
		return r.released, nil
	}
	unlock, err := files.TryLock(filepath.Join(p.job.Output, ".lock"))
	if errors.Is(err, files.ErrLocked) {
		return r.released, fmt.Errorf("another release is running in %s: wait for it, or name another folder with --output", p.job.Output)
	}
	if err != nil {
		return r.released, err
	}
	defer unlock()
	for _, step := range []func(context.Context) error{
		r.pushAssets, r.pushImages, r.writeFiles, r.checkTags, r.writeNotes, r.upload, r.verify, r.tagImages, r.publish,
	} {
		if err := step(ctx); err != nil {
			return r.released, err
		}
	}
	return r.released, nil
}

// pushAssets pushes the artifacts that the registry lacks, and moves the tags of the
// commit and of the release to them.
func (r *run) pushAssets(ctx context.Context) error {
	if r.job.PushTo == "" {
		return nil
	}
	for _, c := range r.job.Components {
		tags := []string{store.MovingTag("commit", r.job.Commit, string(c.Arch)), store.MovingTag("release", r.job.Version, string(c.Arch))}
		if err := r.job.Contents.Publish(ctx, c.Artifact, tags); err != nil {
			return fmt.Errorf("pushing %q for %s: %w", c.Asset, c.Arch, err)
		}
	}
	return nil
}

// writeFiles writes the files of the release. The sums come last, and then their signature.
func (r *run) writeFiles(ctx context.Context) error {
	for _, file := range r.plan.Files {
		var err error
		switch {
		case file.merge != nil:
			stage := r.job.Report.Stage(file.Name, "merge")
			var changed bool
			if changed, err = file.merge.Write(ctx, file.Path, stage); err == nil {
				file.Digest, err = digestOfFile(ctx, file.Path)
			}
			stage.End(err, file.merge.Detail(changed))
		case file.components != nil:
			err = r.writeContents(ctx, &file)
		case file.Name == sourcesFile(r.job.Version):
			err = r.writeSources(ctx, &file)
		case file.Name == r.job.chartFile():
			file.fill(r.chart.Data)
			err = files.Write(file.Path, file.content, 0o644)
		case file.Name == SumsName:
			file.fill(Sums(r.released.Files))
			err = files.Write(file.Path, file.content, 0o644)
		case file.Name == BundleName:
			err = r.sign(ctx, &file)
		default:
			err = files.Write(file.Path, file.content, 0o644)
		}
		if err != nil {
			return err
		}
		r.released.Files = append(r.released.Files, file)
	}
	return nil
}

// writeSources writes the archive of the sources.
func (r *run) writeSources(ctx context.Context, file *File) error {
	stage := r.job.Report.Stage(file.Name, "sources")
	err := r.job.Sources.WriteFile(ctx, file.Path)
	var sum string
	if err == nil {
		sum, file.Size, err = files.Hash(ctx, file.Path)
	}
	file.Digest, file.Exact = "sha256:"+sum, err == nil
	stage.End(err, "written")
	return err
}
