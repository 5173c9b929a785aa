package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// PlannedImage is an image of a release in one of the repositories or, without an
// architecture, the index of all images there.
type PlannedImage struct {
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

// planImages plans the images and the index of each repository. A draft gets no tags of
// the release.
func (p *Plan) planImages(ctx context.Context) error {
	j := p.job
	version := j.Version
	if j.KeepDraft {
		version = ""
	}
	for _, repository := range j.Repositories {
		look := looking{plan: p, repository: repository}
		for _, image := range j.Images {
			if err := look.image(ctx, image.GoArch, payload.ImageTags(j.Commit, version, image.GoArch)); err != nil {
				return err
			}
		}
		tags := payload.IndexTags(j.Commit, version)
		if !p.newest {
			tags = slices.DeleteFunc(tags, moving)
		}
		if err := look.image(ctx, "", tags); err != nil {
			return err
		}
	}
	return nil
}

// looking looks up tags in a repository until a lookup fails.
type looking struct {
	plan       *Plan
	repository *payload.Repository
	failed     bool
}

func (l *looking) image(ctx context.Context, goarch string, tags []payload.Tag) error {
	image := PlannedImage{Repository: l.repository.String(), GoArch: goarch, Tags: []string{}, There: []string{}, repository: l.repository}
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

// pushImages pushes the images and the indexes, without the tags of the release: a run
// that fails later must not leave those.
func (r *run) pushImages(ctx context.Context) error {
	built := map[string]*payload.Image{}
	for _, options := range r.job.Images {
		if len(r.plan.Images) == 0 {
			break
		}
		var err error
		if built[options.GoArch], err = r.build(ctx, options); err != nil {
			return fmt.Errorf("making the image for %s: %w", options.GoArch, err)
		}
	}
	var parts []payload.IndexImage
	for _, image := range r.plan.Images {
		o := payload.PushOptions{Tags: image.only(ofCommit)}
		what := cmp.Or(image.GoArch, "index")
		var there payload.Pushed
		var err error
		if image.GoArch != "" {
			there, err = image.repository.Push(ctx, built[image.GoArch], o)
			parts = append(parts, payload.IndexImage{GoArch: image.GoArch, Reference: there.Reference})
		} else {
			there, err = image.repository.PushIndex(ctx, payload.IndexOptions{Images: parts, Labels: r.job.Labels, PushOptions: o})
			parts = nil
		}
		if err != nil {
			return fmt.Errorf("pushing the image (%s): %w", what, err)
		}
		text := fmt.Sprintf("%s: sent %s, had %s", what, progress.Size(there.Sent), progress.Size(there.There+there.Mounted))
		if !there.Changed {
			text = what + ": everything is there already"
		}
		r.job.Report.Note(image.Repository, text)
		r.released.Images = append(r.released.Images, ReleasedImage{image.GoArch, there})
	}
	return nil
}

func (r *run) build(ctx context.Context, o payload.Options) (*payload.Image, error) {
	arch, err := catalog.ParseArch(o.GoArch)
	if err != nil {
		return nil, err
	}
	set, err := r.job.Catalog.FindSet(workspace.PayloadSet)
	if err != nil {
		return nil, err
	}
	if o.Components, err = Tarballs(ctx, r.job.Store, r.job.of(set, arch)); err != nil {
		return nil, err
	}
	o.Labels = r.job.Labels
	return payload.Build(ctx, o)
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
