package release

import (
	"context"
	"errors"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// pushImages pushes the image of each architecture, and the index of them, under
// the tags of the commit alone: a release that fails later on must not keep the
// tags of the version.
func (r *run) pushImages(ctx context.Context) error {
	if len(r.Repositories) == 0 {
		return nil
	}
	set, err := r.Catalog.FindSet(r.PayloadSet)
	if err != nil {
		return err
	}
	for _, options := range r.Images {
		arch, err := catalog.ParseArch(options.GoArch)
		if err != nil {
			return err
		}
		tarballs, err := Tarballs(ctx, r.Store, r.of(set, arch))
		if err != nil {
			return err
		}
		for _, tarball := range tarballs {
			options.Components = append(options.Components, payload.Component{Name: tarball.Name, Path: tarball.Path})
		}
		options.Labels = r.Labels
		image, err := payload.Build(ctx, options)
		if err != nil {
			return fmt.Errorf("making the image for %s: %w", arch, err)
		}
		r.images = append(r.images, image)
	}
	for _, repository := range r.Repositories {
		index, err := r.push(ctx, repository, "")
		if err != nil {
			return err
		}
		r.pushed = append(r.pushed, pushedTo{repository: repository, index: index})
	}
	return nil
}

// checkTags refuses tags of the version that are other images', in any repository,
// while nothing is changed that users see.
func (r *run) checkTags(ctx context.Context) error {
	if r.KeepDraft {
		return nil
	}
	var problems []error
	for _, to := range r.pushed {
		for _, image := range r.images {
			problems = append(problems, r.check(ctx, to.repository, image.Digest(), payload.ImageTags("", r.Version, image.GoArch())))
		}
		problems = append(problems, r.check(ctx, to.repository, to.index.Digest, payload.IndexTags("", r.Version)))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(problems...)
}

func (r *run) check(ctx context.Context, repository *payload.Repository, digest string, tags []payload.Tag) error {
	return repository.Check(ctx, digest, payload.PushOptions{Tags: tags, Force: r.Force})
}

// tagImages gives the images the tags of the version, which others get with force
// alone. The tag that users follow moves once every repository has those.
func (r *run) tagImages(ctx context.Context) error {
	if r.KeepDraft {
		return nil
	}
	r.released.Images = []ReleasedImage{}
	for i, to := range r.pushed {
		index, err := r.push(ctx, to.repository, r.Version)
		if err != nil {
			return err
		}
		if index.Digest != to.index.Digest {
			return fmt.Errorf("the index in %s was %s and became %s while it was released: run it again", to.repository, to.index.Digest, index.Digest)
		}
		r.pushed[i].at = len(r.released.Images) - 1
	}
	if !r.plan.github.latest {
		return nil
	}
	for _, to := range r.pushed {
		moved, err := to.repository.Tag(ctx, to.index.Digest, payload.PushOptions{Tags: payload.LatestTags(r.Version)})
		if err != nil {
			return fmt.Errorf("moving the latest image: %w", err)
		}
		index := &r.released.Images[to.at]
		index.Tags = append(index.Tags, moved.Tags...)
		index.Changed = index.Changed || moved.Changed
	}
	return nil
}

// push pushes all images to a repository, and the index of them, under the tags of
// the commit and, where it is not "", of the version.
func (r *run) push(ctx context.Context, repository *payload.Repository, version string) (payload.Pushed, error) {
	var images []payload.IndexImage
	for _, image := range r.images {
		pushed, err := repository.Push(ctx, image, payload.PushOptions{Tags: payload.ImageTags(r.Commit, version, image.GoArch()), Force: r.Force})
		if err != nil {
			return payload.Pushed{}, fmt.Errorf("pushing the image for %s: %w", image.GoArch(), err)
		}
		r.say(repository, image.GoArch(), pushed)
		images = append(images, payload.IndexImage{GoArch: image.GoArch(), Reference: pushed.Reference})
		r.released.Images = append(r.released.Images, ReleasedImage{image.GoArch(), pushed})
	}
	index, err := repository.PushIndex(ctx, payload.IndexOptions{
		Images: images, Labels: r.Labels, PushOptions: payload.PushOptions{Tags: r.indexTags(version), Force: r.Force},
	})
	if err != nil {
		return payload.Pushed{}, fmt.Errorf("pushing the index: %w", err)
	}
	r.say(repository, "index", index)
	r.released.Images = append(r.released.Images, ReleasedImage{"", index})
	return index, nil
}

func (r *run) say(repository *payload.Repository, what string, pushed payload.Pushed) {
	text := fmt.Sprintf("%s: sent %s, had %s", what, progress.Size(pushed.Sent), progress.Size(pushed.There+pushed.Mounted))
	if !pushed.Changed {
		text = what + ": everything is there already"
	}
	r.Report.Note(repository.String(), text)
}

func (r *run) closeImages() error {
	var problems []error
	for _, image := range r.images {
		problems = append(problems, image.Close())
	}
	return errors.Join(problems...)
}
