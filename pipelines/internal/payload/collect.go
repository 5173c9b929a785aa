package payload

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// commitTag matches the tags of a commit: those of images, and of charts.
var commitTag = regexp.MustCompile(`^(kata-containers-|0\.0\.0-g)[0-9a-f]{40}(-[a-z0-9]+)?$`)

// Collect removes the tags of commits that were made before a time, unless it only lists
// them, and returns them. Other tags stay, also of the same images; what no tag names, the
// registry collects itself.
func (r *Repository) Collect(ctx context.Context, before time.Time, list bool) (old []string, err error) {
	tags, err := r.Tags(ctx)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if !commitTag.MatchString(tag) {
			continue
		}
		m, err := r.Manifest(ctx, tag)
		if oci.IsNotFound(err) {
			continue // Another run removed it.
		}
		if err != nil {
			return old, fmt.Errorf("reading %s:%s: %w", r, tag, err)
		}
		created, err := time.Parse(time.RFC3339, m.Annotations[annotation+"created"])
		if err != nil || !created.Before(before) {
			continue // Without a time it was not made here.
		}
		if !list {
			err := r.DeleteTag(ctx, tag, m.Digest())
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
