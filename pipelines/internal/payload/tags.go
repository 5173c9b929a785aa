package payload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// Tag is one that an image gets.
type Tag struct {
	Name string
	// Fixed is for the tag of a release: another image does not get it.
	Fixed bool
	// Release is for a tag that moves from release to release: the one that it gets
	// moved for. Where it points at a newer one it stays there.
	Release string
}

var validTag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// ImageTags are those of the image of one architecture: that of the commit, and of
// the release where version is not "".
func ImageTags(commit, version, goarch string) []Tag {
	var tags []Tag
	if commit != "" {
		tags = append(tags, Tag{Name: "kata-containers-" + commit + "-" + goarch})
	}
	if version != "" {
		tags = append(tags, Tag{Name: version + "-" + goarch, Fixed: true})
	}
	return tags
}

// IndexTags are those of the index of all architectures: that of the commit and,
// where version is not "", of the release, and LatestTags.
func IndexTags(commit, version string) []Tag {
	var tags []Tag
	if commit != "" {
		tags = append(tags, Tag{Name: "kata-containers-" + commit})
	}
	if version != "" {
		tags = append(tags, Tag{Name: version, Fixed: true})
	}
	return append(tags, LatestTags(version)...)
}

const latest = "latest"

// LatestTags are those that move to the index of a release: "latest", and none for
// one before a release, such as 3.29.0-rc0, nor where version is "".
func LatestTags(version string) []Tag {
	if version == "" || semver.Prerelease(version) {
		return nil
	}
	return []Tag{{Name: latest, Release: version}}
}

// releaseTag is how the tags of releases look.
var releaseTag = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+([.+-].*)?$`)

// WithGiven adds the tag that the caller names to those that something gets anyway.
// "latest", and one that looks like a release's, is what a release gets, or nothing.
func WithGiven(tags []Tag, given string) ([]Tag, error) {
	switch {
	case slices.ContainsFunc(tags, func(tag Tag) bool { return tag.Name == given }):
		return tags, nil
	case given == latest || releaseTag.MatchString(given):
		return nil, fmt.Errorf("the tag %s is for a release, and none that is pushed here: name another tag (--release gives a release its own: payload push VERSION-ARCH, payload index VERSION and latest)", given)
	}
	return append(tags, Tag{Name: given}), nil
}

// Destination is where a command line wants an image: NAME, NAME:TAG, or
// NAME@sha256:... That with a digest is used as it is: the image must have that
// digest, and gets no tag.
type Destination struct {
	// Repository is [HOST[:PORT]/]PATH.
	Repository string
	// Tag and Digest are "" where there is none; not both are given.
	Tag, Digest string
}

// CheckName refuses what docker load would not take as the name of an image.
func CheckName(text string) error {
	tag, err := name.NewTag(text)
	if err != nil || !strings.HasSuffix(text, ":"+tag.TagStr()) || !validTag.MatchString(tag.TagStr()) {
		return fmt.Errorf("name %q: want NAME:TAG, such as quay.io/kata-containers/kata-deploy:3.28.0", text)
	}
	return nil
}

// ParseDestination reads one.
func ParseDestination(text string) (Destination, error) {
	malformed := fmt.Errorf("reference %q: want NAME, NAME:TAG or NAME@sha256:<64 hex digits>, without https://", text)
	if strings.Contains(text, "//") {
		return Destination{}, malformed
	}
	if before, digest, found := strings.Cut(text, "@"); found {
		// A tag beside a digest says nothing: the digest is the image.
		if ref, err := name.ParseReference(before); err == nil {
			if full, err := name.NewDigest(ref.Context().Name() + "@" + digest); err == nil {
				return Destination{Repository: full.Context().Name(), Digest: full.DigestStr()}, nil
			}
		}
		return Destination{}, malformed
	}
	if repository, err := name.NewRepository(text); err == nil {
		return Destination{Repository: repository.Name()}, nil
	}
	tag, err := name.NewTag(text)
	if err != nil || !validTag.MatchString(tag.TagStr()) {
		return Destination{}, malformed
	}
	return Destination{Repository: tag.Context().Name(), Tag: tag.TagStr()}, nil
}

// checkTags refuses a fixed tag that is another image's.
func (p *push) checkTags(ctx context.Context, digest v1.Hash, o PushOptions) error {
	var problems []error
	for _, tag := range o.Tags {
		if !validTag.MatchString(tag.Name) {
			problems = append(problems, fmt.Errorf("tag %q: want letters, digits, dots, dashes and underscores, at most 128", tag.Name))
			continue
		}
		if !tag.Fixed || o.Force {
			continue
		}
		there, err := p.tagged(ctx, p.client, tag.Name)
		if err != nil {
			return err
		}
		if there != (v1.Hash{}) && there != digest {
			problems = append(problems, fmt.Errorf("%s:%s is %s already, not %s: a release is not replaced; do it all the same with --force", p, tag.Name, there, digest))
		}
	}
	return errors.Join(problems...)
}

// finish puts a manifest, whose parts are there, and gives it its tags.
func (p *push) finish(ctx context.Context, what remote.Taggable, digest v1.Hash, o PushOptions) (Pushed, error) {
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(p.client.Transport)}
	reference := p.repository.Digest(digest.String())
	_, err := remote.Head(reference, options...)
	if status(err) == http.StatusNotFound {
		p.changed = true
		err = remote.Put(reference, what, options...)
	}
	if err != nil {
		return Pushed{}, p.failed("pushing the manifest", interrupted(ctx, err))
	}
	pushed := Pushed{Reference: reference.Name(), Digest: digest.String(), Tags: []string{}}
	// Looked at once more: a release may have been pushed in the meantime.
	if err := p.checkTags(ctx, digest, o); err != nil {
		return Pushed{}, err
	}
	for _, tag := range o.Tags {
		stays, err := p.stays(ctx, tag)
		if err != nil {
			return Pushed{}, err
		}
		if stays {
			continue
		}
		there, err := p.tagged(ctx, p.client, tag.Name)
		if err != nil {
			return Pushed{}, err
		}
		if there != digest {
			p.changed = true
			if err := remote.Tag(p.repository.Tag(tag.Name), what, options...); err != nil {
				return Pushed{}, p.failed("pushing the tag "+tag.Name, interrupted(ctx, err))
			}
		}
		if !slices.Contains(pushed.Tags, tag.Name) {
			pushed.Tags = append(pushed.Tags, tag.Name)
		}
	}
	pushed.Sent, pushed.Mounted, pushed.There = p.sent.Load(), p.mounted.Load(), p.there.Load()
	pushed.Changed = p.changed
	return pushed, nil
}

// stays tells whether a tag is a newer release's, and says so.
func (p *push) stays(ctx context.Context, tag Tag) (bool, error) {
	if tag.Release == "" {
		return false, nil
	}
	there, err := p.read(ctx, p.client, tag.Name)
	if err != nil || !semver.Newer(there.Version, tag.Release) {
		return false, err
	}
	p.options.say(fmt.Sprintf("%s:%s is the newer release %s: it stays", p, tag.Name, there.Version))
	return true, nil
}

// interrupted is the cause where the context has ended.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
