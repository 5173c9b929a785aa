package payload

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

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
// NAME@sha256:... One with a digest names the image: it must have that
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
		// A tag next to a digest says nothing: the digest is the image.
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
