package payload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// commitTag matches the tags of a commit: those of images, and of charts.
var commitTag = regexp.MustCompile(`^(?:kata-containers-|0\.0\.0-g)([0-9a-f]{40})(?:-[a-z0-9]+)?$`)

// Old says which commits are collected.
type Old struct {
	// Before is the time before which they were made, and Keep how many of the newest stay
	// nevertheless: a branch that is quiet has none that are newer.
	Before time.Time
	Keep   int
}

// Collect removes the tags of old commits, unless it only lists them, and returns them. All
// tags of a commit stay if another tag, such as that of a branch, names one of its images;
// what no tag names, the registry collects itself.
func (r *Repository) Collect(ctx context.Context, o Old, list bool) (old []string, err error) {
	tags, err := r.Tags(ctx)
	if err != nil {
		return nil, err
	}
	digests, made := map[string]digest.Digest{}, map[string]time.Time{}
	for _, tag := range tags {
		m, err := r.Manifest(ctx, tag)
		if oci.IsNotFound(err) {
			continue // Another run removed it.
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s:%s: %w", r, tag, err)
		}
		digests[tag] = m.Digest()
		if created, err := time.Parse(time.RFC3339, m.Annotations[annotation+"created"]); err == nil {
			made[commitOf(tag)] = created // Without a time it was not made here.
		}
	}
	for _, tag := range o.of(made, digests) {
		if !list {
			err := r.DeleteTag(ctx, tag, digests[tag])
			if errors.Is(err, oci.ErrMoved) {
				continue
			}
			if err != nil {
				return old, r.hinted(err)
			}
		}
		old = append(old, tag)
	}
	return old, nil
}

// of returns the tags of old commits, sorted. Made is when the image of each commit was.
func (o Old) of(made map[string]time.Time, digests map[string]digest.Digest) (tags []string) {
	delete(made, "") // Other tags have no commit.
	newest := slices.SortedFunc(maps.Keys(made), func(a, b string) int { return cmp.Or(made[b].Compare(made[a]), cmp.Compare(a, b)) })
	stays := newest[:min(o.Keep, len(newest))]
	named := map[digest.Digest]bool{}
	for tag, d := range digests {
		named[d] = named[d] || commitOf(tag) == ""
	}
	for tag, d := range digests {
		if named[d] {
			stays = append(stays, commitOf(tag))
		}
	}
	for tag := range digests {
		commit := commitOf(tag)
		if created, known := made[commit]; known && created.Before(o.Before) && !slices.Contains(stays, commit) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

// commitOf returns the commit of a tag, "" for other tags.
func commitOf(tag string) string {
	if found := commitTag.FindStringSubmatch(tag); found != nil {
		return found[1]
	}
	return ""
}
