package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// PlannedImage is an image of a release in one of the repositories or, without an
// architecture, the index of all images there. Name is "" for kata-deploy, and ChartName
// for its chart.
type PlannedImage struct {
	Name       string   `json:"name,omitempty"`
	Repository string   `json:"repository"`
	GoArch     string   `json:"goarch,omitempty"`
	Tags       []string `json:"tags"`
	// There lists the tags of the release that an earlier run has already set.
	There []string `json:"there"`

	repository *payload.Repository
	tags       []payload.Tag
}

// An image gets its tags in this order: that of the commit with the push, that of the
// release once nothing else can fail, and the one that moves from release to release
// once every repository has those.
func ofCommit(tag payload.Tag) bool  { return !tag.Fixed && tag.Release == "" }
func ofRelease(tag payload.Tag) bool { return tag.Fixed }
func moving(tag payload.Tag) bool    { return tag.Release != "" }

// only returns the tags that a predicate selects.
func (i PlannedImage) only(these func(payload.Tag) bool) []payload.Tag {
	return slices.DeleteFunc(slices.Clone(i.tags), func(tag payload.Tag) bool { return !these(tag) })
}

// tagged reports whether an image has the tags of the release.
func (i PlannedImage) tagged() bool { return len(i.There) == len(i.only(ofRelease)) }

// planImages plans the images and the indexes of each repository, and the charts. A draft
// gets no tags of the release.
func (p *Plan) planImages(ctx context.Context) error {
	for _, repository := range p.job.Repositories {
		look := looking{plan: p}
		for _, name := range p.job.imageNames() {
			var err error
			if look.name, look.repository = name, repository; name != "" {
				look.repository, err = repository.Sibling(name)
			}
			if err == nil {
				err = look.images(ctx)
			}
			if err != nil {
				return err
			}
		}
		if p.job.Shims != nil {
			if err := look.chart(ctx, repository); err != nil {
				return err
			}
		}
	}
	return nil
}

// imageNames returns the names of the images: kata-deploy is the last.
func (j *Job) imageNames() []string {
	var names []string
	for _, image := range j.Images {
		names = append(names, image.Name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	return slices.Compact(names)
}

// looking looks up tags in a repository until a lookup fails.
type looking struct {
	plan       *Plan
	name       string
	repository *payload.Repository
	failed     bool
}

// chart plans the chart, next to the repository of the images as Kata has it:
// HOST/PATH/kata-deploy-charts/kata-deploy.
func (l *looking) chart(ctx context.Context, images *payload.Repository) (err error) {
	l.name = ChartName
	if l.repository, err = images.Sibling(path.Base(images.Path()) + "-charts/" + chart.Name); err != nil {
		return err
	}
	var tags []payload.Tag
	if !l.plan.job.KeepDraft {
		tags = append(tags, payload.Tag{Name: l.plan.Version, Fixed: true})
	}
	return l.image(ctx, "", tags)
}

// images plans the images of a name, and their index.
func (l *looking) images(ctx context.Context) error {
	j := l.plan.job
	version := j.Version
	if j.KeepDraft {
		version = ""
	}
	for _, image := range j.Images {
		if image.Name != l.name {
			continue
		}
		if err := l.image(ctx, image.GoArch, payload.ImageTags(j.Commit, version, image.GoArch)); err != nil {
			return err
		}
	}
	tags := payload.IndexTags(j.Commit, version)
	if !l.plan.newest {
		tags = slices.DeleteFunc(tags, moving)
	}
	return l.image(ctx, "", tags)
}

// image plans an image.
func (l *looking) image(ctx context.Context, goarch string, tags []payload.Tag) error {
	image := PlannedImage{Name: l.name, Repository: l.repository.String(), GoArch: goarch, Tags: []string{}, There: []string{}, repository: l.repository}
	for _, tag := range tags {
		there, err := l.resolve(ctx, tag)
		if err != nil {
			return err
		}
		if moving(tag) && semver.Newer(there.Version, tag.Release) {
			l.plan.job.Report.Note("release", fmt.Sprintf("%s:%s already points to the newer release %s: not moved", l.repository, tag.Name, there.Version))
			continue
		}
		image.Tags, image.tags = append(image.Tags, tag.Name), append(image.tags, tag)
		switch {
		case !tag.Fixed || there.Digest == "":
		case there.Revision == l.plan.Commit:
			image.There = append(image.There, tag.Name)
		case !l.plan.job.Force:
			l.plan.problem(fmt.Errorf("%s:%s is already %s, made from another commit (%s): a release is not replaced; raise VERSION, or pass --force",
				l.repository, tag.Name, there.Digest, cmp.Or(there.Revision, "unknown")))
		}
	}
	l.plan.Images = append(l.plan.Images, image)
	return nil
}

// resolve returns what a tag of a release points to. A registry that denies access does
// not stop a release, one that cannot be reached does.
func (l *looking) resolve(ctx context.Context, tag payload.Tag) (payload.Tagged, error) {
	if l.failed || ofCommit(tag) {
		return payload.Tagged{}, nil
	}
	there, err := l.repository.Resolve(ctx, tag.Name)
	switch {
	case ctx.Err() != nil:
		return there, context.Cause(ctx)
	case oci.Refused(err):
		l.plan.job.Report.Note("release", fmt.Sprintf("existing images of %s are not visible: %v", l.plan.Version, err))
		l.failed = true
	case err != nil:
		l.plan.problem(err)
		l.failed = true
	}
	return there, nil
}

// checkTags refuses tags of the release that point to other images, in any repository,
// before anything that users see changes.
func (r *run) checkTags(ctx context.Context) error {
	var problems []error
	for i, image := range r.plan.Images {
		problems = append(problems, image.repository.Check(ctx, r.released.Images[i].Digest, payload.PushOptions{Tags: image.only(ofRelease), Force: r.job.Force}, true))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(problems...)
}

// tagImages gives the images their other tags, without pushing them again.
func (r *run) tagImages(ctx context.Context) error {
	for _, these := range []func(payload.Tag) bool{ofRelease, moving} {
		for i, image := range r.plan.Images {
			tags := image.only(these)
			if len(tags) == 0 {
				continue
			}
			there := &r.released.Images[i]
			moved, err := image.repository.Tag(ctx, there.Digest, payload.PushOptions{Tags: tags, Force: r.job.Force})
			if err != nil {
				return fmt.Errorf("tagging %s: %w", there.Reference, err)
			}
			there.Tags, there.Changed = append(there.Tags, moved.Tags...), there.Changed || moved.Changed
		}
	}
	return nil
}
