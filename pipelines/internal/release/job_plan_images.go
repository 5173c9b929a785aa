package release

import (
	"cmp"
	"context"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// planImages plans the images, and looks where the tags of the release are.
func (j *Job) planImages(ctx context.Context, p *Planned, s state) error {
	version := j.Version
	if j.KeepDraft {
		version = ""
	}
	set, err := j.Catalog.FindSet(j.PayloadSet)
	if err != nil && len(j.Repositories) > 0 {
		p.Problems = append(p.Problems, err.Error())
		return nil
	}
	for _, repository := range j.Repositories {
		look := looking{j, p, repository, false}
		for _, arch := range j.Arches {
			if len(set.Components[arch]) == 0 {
				continue
			}
			if err := look.image(ctx, arch.GoArch(), payload.ImageTags(j.Commit, version, arch.GoArch())); err != nil {
				return err
			}
		}
		tags := j.indexTags(version)
		if s.latest {
			tags = append(tags, payload.LatestTags(version)...)
		}
		if err := look.image(ctx, "", tags); err != nil {
			return err
		}
	}
	return nil
}

// looking looks for tags in a repository, until it fails to.
type looking struct {
	*Job
	planned    *Planned
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
			continue // It stays a newer release's.
		}
		image.Tags = append(image.Tags, tag.Name)
		switch {
		case !tag.Fixed || there.Digest == "":
		case there.Revision == l.Commit:
			image.There = append(image.There, tag.Name)
		case !l.Force:
			l.planned.Problems = append(l.planned.Problems, fmt.Sprintf("%s:%s is %s already, of another commit (%s): a release is not replaced; raise VERSION, or do it all the same with --force",
				l.repository, tag.Name, there.Digest, cmp.Or(there.Revision, "none that it says")))
		}
	}
	l.planned.Images = append(l.planned.Images, image)
	return nil
}

// resolve returns what a tag of a release points at. Not to be told is no reason not
// to release, but not to reach the registry is.
func (l *looking) resolve(ctx context.Context, tag payload.Tag) (payload.Tagged, error) {
	if l.failed || !tag.Fixed && tag.Release == "" {
		return payload.Tagged{}, nil
	}
	there, err := l.repository.Resolve(ctx, tag.Name)
	switch {
	case ctx.Err() != nil:
		return there, context.Cause(ctx)
	case payload.Hidden(err):
		l.Report.Note("release", fmt.Sprintf("whether there are images of %s cannot be seen: %v", l.Version, err))
		l.failed = true
	case err != nil:
		l.planned.Problems = append(l.planned.Problems, err.Error())
		l.failed = true
	}
	return there, nil
}
