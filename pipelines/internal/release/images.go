package release

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// pushed is an image, or the index of images, in a repository.
type pushed struct {
	repository *payload.Repository
	ReleasedImage
}

// tags returns the tags of an image or, without an architecture, of the index: that of
// the commit and, unless they are "", of the version. The tag that moves from release to
// release is not among them.
func tags(commit, version, goarch string) []payload.Tag {
	if goarch != "" {
		return payload.ImageTags(commit, version, goarch)
	}
	return slices.DeleteFunc(payload.IndexTags(commit, version), func(tag payload.Tag) bool { return tag.Release != "" })
}

// pushImages pushes the image of each architecture, and the index of them, under the
// tags of the commit: a release that fails later must not keep the tags of the version.
func (r *run) pushImages(ctx context.Context) error {
	if len(r.Repositories) == 0 {
		return nil
	}
	for _, options := range r.Images {
		image, err := r.build(ctx, options)
		if err != nil {
			return fmt.Errorf("making the image for %s: %w", options.GoArch, err)
		}
		r.images = append(r.images, image)
	}
	for _, repository := range r.Repositories {
		index := payload.IndexOptions{Labels: r.Labels, PushOptions: payload.PushOptions{Tags: tags(r.Commit, "", "")}}
		for _, image := range r.images {
			goarch := image.GoArch()
			there, err := repository.Push(ctx, image, payload.PushOptions{Tags: tags(r.Commit, "", goarch)})
			if err != nil {
				return fmt.Errorf("pushing the image for %s: %w", goarch, err)
			}
			r.add(repository, goarch, there)
			index.Images = append(index.Images, payload.IndexImage{GoArch: goarch, Reference: there.Reference})
		}
		there, err := repository.PushIndex(ctx, index)
		if err != nil {
			return fmt.Errorf("pushing the index: %w", err)
		}
		r.add(repository, "", there)
	}
	return nil
}

// build puts the image of an architecture together.
func (r *run) build(ctx context.Context, o payload.Options) (*payload.Image, error) {
	arch, err := catalog.ParseArch(o.GoArch)
	if err != nil {
		return nil, err
	}
	set, err := r.Catalog.FindSet(r.PayloadSet)
	if err != nil {
		return nil, err
	}
	tarballs, err := Tarballs(ctx, r.Store, r.of(set, arch))
	if err != nil {
		return nil, err
	}
	for _, tarball := range tarballs {
		o.Components = append(o.Components, payload.Component{Name: tarball.Name, Path: tarball.Path})
	}
	o.Labels = r.Labels
	return payload.Build(ctx, o)
}

// add notes what a repository has now.
func (r *run) add(repository *payload.Repository, goarch string, there payload.Pushed) {
	what := goarch
	if what == "" {
		what = "index"
	}
	text := fmt.Sprintf("%s: sent %s, had %s", what, progress.Size(there.Sent), progress.Size(there.There+there.Mounted))
	if !there.Changed {
		text = what + ": everything is there already"
	}
	r.Report.Note(repository.String(), text)
	r.pushed = append(r.pushed, pushed{repository, ReleasedImage{goarch, there}})
	r.released.Images = append(r.released.Images, ReleasedImage{goarch, there})
}

// checkTags refuses tags of the version that point to other images, in any repository,
// while nothing is changed that users see.
func (r *run) checkTags(ctx context.Context) error {
	if r.KeepDraft {
		return nil
	}
	var problems []error
	for _, p := range r.pushed {
		problems = append(problems, p.repository.Check(ctx, p.Digest, payload.PushOptions{Tags: tags("", r.Version, p.GoArch), Force: r.Force}))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(problems...)
}

// tagImages gives the images the tags of the version; other images lose them only with
// force. The tag that users follow moves when every repository has those.
func (r *run) tagImages(ctx context.Context) error {
	if r.KeepDraft {
		return nil
	}
	for i, p := range r.pushed {
		if err := r.tag(ctx, i, tags("", r.Version, p.GoArch)); err != nil {
			return err
		}
	}
	for i, p := range r.pushed {
		if p.GoArch == "" && r.plan.github.latest {
			if err := r.tag(ctx, i, payload.LatestTags(r.Version)); err != nil {
				return err
			}
		}
	}
	return nil
}

// tag gives tags to an image that was pushed, by its number.
func (r *run) tag(ctx context.Context, i int, tags []payload.Tag) error {
	image := &r.released.Images[i]
	moved, err := r.pushed[i].repository.Tag(ctx, image.Digest, payload.PushOptions{Tags: tags, Force: r.Force})
	if err != nil {
		return fmt.Errorf("tagging %s: %w", image.Reference, err)
	}
	image.Tags, image.Changed = append(image.Tags, moved.Tags...), image.Changed || moved.Changed
	return nil
}

func (r *run) closeImages() error {
	var problems []error
	for _, image := range r.images {
		problems = append(problems, image.Close())
	}
	return errors.Join(problems...)
}
