package release

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// run is one execution of a Plan.
type run struct {
	*Job
	plan     *Plan
	page     github.Release
	images   []*payload.Image
	pushed   []pushedTo
	files    []github.File
	released Released
}

// Execute makes the release, unless something stands in its way. Every step does only
// what is missing, so that the next run finishes what a killed one began. What users
// see comes last: the tags of the images, then the page. It holds a lock on the output
// folder.
func (p *Plan) Execute(ctx context.Context) (released Released, err error) {
	j := p.job
	r := &run{Job: j, plan: p, page: p.github.release, released: Released{
		Version: j.Version, Commit: j.Commit, Files: []ReleasedFile{}, Images: []ReleasedImage{},
	}}
	if err := p.Err(); err != nil {
		return r.released, err
	}
	if p.Finished {
		r.released.URL, r.released.Finished = p.URL, true
		return r.released, nil
	}
	unlock, err := files.TryLock(filepath.Join(j.Output, ".lock"))
	if errors.Is(err, files.ErrLocked) {
		return r.released, fmt.Errorf("another release is at work in %s: wait for it, or name another folder with --output", j.Output)
	}
	if err != nil {
		return r.released, err
	}
	defer func() {
		err = errors.Join(err, r.closeImages())
		unlock()
	}()
	for _, step := range []func(context.Context) error{
		r.pushAssets, r.merge, r.pushImages, r.checkTags, r.writeFiles, r.upload, r.verify, r.tagImages, r.publish,
	} {
		if err := step(ctx); err != nil {
			return r.released, err
		}
	}
	return r.released, nil
}

// pushAssets sends the artifacts that the registry lacks, and moves the tags of the
// commit and of the release there.
func (r *run) pushAssets(ctx context.Context) error {
	if r.PushTo == "" {
		return nil
	}
	for _, c := range r.Components {
		tags := []string{store.MovingTag("commit", r.Commit, string(c.Arch)), store.MovingTag("release", r.Version, string(c.Arch))}
		if err := r.Store.Registry.Push(ctx, c.Artifact.Ref, r.Store.Local, tags); err != nil {
			return fmt.Errorf("pushing %q for %s: %w", c.Asset, c.Arch, err)
		}
	}
	return nil
}

// merge writes the merged tarballs.
func (r *run) merge(ctx context.Context) error {
	for _, plan := range r.plan.merges {
		name := PublishedFile(plan.Report.Set, r.Version, plan.Report.Arch)
		stage := r.Report.Stage(name, "merge")
		changed, err := plan.Write(ctx, r.path(name), stage)
		var digest string
		if err == nil {
			digest, err = digestOfFile(ctx, r.path(name))
		}
		stage.End(err, plan.Detail(changed))
		if err != nil {
			return err
		}
		r.files = append(r.files, github.File{Name: name, Path: r.path(name), Size: plan.Report.Size, Digest: digest})
	}
	return nil
}
