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

// IndexTags are those of the index of all architectures: that of the commit and, where
// version is not "", of the release, and "latest", which moves from release to release.
// One before a release, such as 3.29.0-rc0, does not get that.
func IndexTags(commit, version string) []Tag {
	var tags []Tag
	if commit != "" {
		tags = append(tags, Tag{Name: "kata-containers-" + commit})
	}
	if version != "" {
		tags = append(tags, Tag{Name: version, Fixed: true})
	}
	if version != "" && !semver.Prerelease(version) {
		tags = append(tags, Tag{Name: latest, Release: version})
	}
	return tags
}

const latest = "latest"

// releaseTag is how the tags of releases look.
var releaseTag = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+([.+-].*)?$`)

// WithGiven adds the tag that the caller names to those that something gets anyway.
// "latest", and one that looks like a release's, is what a release gets, or nothing.
func WithGiven(tags []Tag, given string) ([]Tag, error) {
	switch {
	case slices.ContainsFunc(tags, func(tag Tag) bool { return tag.Name == given }):
		return tags, nil
	case given == latest || releaseTag.MatchString(given):
		return nil, fmt.Errorf("the tag %s is reserved for releases: name another tag "+
			"(with --release, payload push adds VERSION-ARCH, and payload index VERSION and latest)", given)
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

// ParseDestination reads one. A tag next to a digest says nothing: the digest is the image.
func ParseDestination(text string) (Destination, error) {
	ref, err := name.ParseReference(text, name.WithDefaultTag(""))
	malformed := err != nil || strings.Contains(text, "//") || strings.HasSuffix(text, ":")
	switch ref := ref.(type) {
	case name.Digest:
		if !malformed {
			return Destination{Repository: ref.Context().Name(), Digest: ref.DigestStr()}, nil
		}
	case name.Tag:
		if tag := ref.TagStr(); !malformed && (tag == "" || validTag.MatchString(tag)) {
			return Destination{Repository: ref.Context().Name(), Tag: tag}, nil
		}
	}
	return Destination{}, fmt.Errorf("reference %q: want NAME, NAME:TAG or NAME@sha256:<64 hex digits>, without https://", text)
}
