package payload

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// Tag is a tag of an image.
type Tag struct {
	Name string
	// Fixed is true for the tag of a release: it does not move to another image.
	Fixed bool
	// Release is set for a tag that moves from release to release: it is the release to
	// move to. A tag that points to a newer one stays.
	Release string
}

var validTag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// ImageTags returns the tags of the image of one architecture: that of the commit and,
// unless version is "", that of the release.
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

// IndexTags returns the tags of the index of all architectures: that of the commit and,
// unless version is "", that of the release and "latest", which moves from release to
// release. A prerelease such as 3.29.0-rc0 does not get "latest".
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

// releaseTag matches the tags of releases.
var releaseTag = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+([.+-].*)?$`)

// WithGiven adds the tag that the caller names to those that an image gets anyway. It
// refuses "latest" and tags that look like a release's: only releases get those.
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

// Destination is where a command line pushes an image: NAME, NAME:TAG, or
// NAME@sha256:... With a digest, the image must have that digest and gets no tag.
type Destination struct {
	// Repository is [HOST[:PORT]/]PATH.
	Repository string
	// At most one of Tag and Digest is set.
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

// ParseDestination parses a Destination. It ignores a tag next to a digest, which
// identifies the image.
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
