package release

import (
	"cmp"
	"context"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// PlannedImage is an image or, without an architecture, the index of all images.
type PlannedImage struct {
	Repository string   `json:"repository"`
	GoArch     string   `json:"goarch,omitempty"`
	Tags       []string `json:"tags"`
	// There are the tags of the release that an earlier run has given already.
	There []string `json:"there"`
}

// planImages plans the images, and looks where the tags of the release point.
func (p *Plan) planImages(ctx context.Context) error {
	j := p.job
	version := j.Version
	if j.KeepDraft {
		version = ""
	}
	for _, repository := range j.Repositories {
		look := looking{p, repository, false}
		for _, image := range j.Images {
			if err := look.image(ctx, image.GoArch, tags(j.Commit, version, image.GoArch)); err != nil {
				return err
			}
		}
		index := tags(j.Commit, version, "")
		if p.github.latest {
			index = append(index, payload.LatestTags(version)...)
		}
		if err := look.image(ctx, "", index); err != nil {
			return err
		}
	}
	return nil
}

// looking looks for tags in a repository until it fails.
type looking struct {
	*Plan
	repository *payload.Repository
	failed     bool
}

// image plans an image.
func (l *looking) image(ctx context.Context, goarch string, tags []payload.Tag) error {
	image := PlannedImage{Repository: l.repository.String(), GoArch: goarch, Tags: []string{}, There: []string{}}
	for _, tag := range tags {
		there, err := l.resolve(ctx, tag)
		if err != nil {
			return err
		}
		if tag.Release != "" && semver.Newer(there.Version, tag.Release) {
			continue // It stays with a newer release.
		}
		image.Tags = append(image.Tags, tag.Name)
		switch {
		case !tag.Fixed || there.Digest == "":
		case there.Revision == l.Commit:
			image.There = append(image.There, tag.Name)
		case !l.job.Force:
			l.problem(fmt.Errorf("%s:%s is already %s, made from another commit (%s): a release is not replaced; raise VERSION, or pass --force",
				l.repository, tag.Name, there.Digest, cmp.Or(there.Revision, "unknown")))
		}
	}
	l.Images = append(l.Images, image)
	return nil
}

// resolve returns what a tag of a release points to. A registry that denies access does
// not stop a release, one that cannot be reached does.
func (l *looking) resolve(ctx context.Context, tag payload.Tag) (payload.Tagged, error) {
	if l.failed || !tag.Fixed && tag.Release == "" {
		return payload.Tagged{}, nil
	}
	there, err := l.repository.Resolve(ctx, tag.Name)
	switch {
	case ctx.Err() != nil:
		return there, context.Cause(ctx)
	case payload.Hidden(err):
		l.job.Report.Note("release", fmt.Sprintf("existing images of %s are not visible: %v", l.Version, err))
		l.failed = true
	case err != nil:
		l.problem(err)
		l.failed = true
	}
	return there, nil
}
