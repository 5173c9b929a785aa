package payload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// IndexImage is the image of one architecture.
type IndexImage struct {
	GoArch string
	// Reference is NAME:TAG or NAME@sha256:..., in any repository.
	Reference string
	// Optional tolerates that the image is missing.
	Optional bool
}

// IndexOptions say what an index contains, and how it is tagged.
type IndexOptions struct {
	Images []IndexImage
	Labels Labels
	PushOptions
}

// PushIndex pushes an index of the images of several architectures, in their order, and
// tags it. It copies images from other repositories first. A missing image is an error
// unless it is optional; an image of another architecture always is.
func (r *Repository) PushIndex(ctx context.Context, o IndexOptions) (Pushed, error) {
	images, err := r.find(ctx, o.Images)
	if err != nil {
		return Pushed{}, err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Annotations: o.Labels.of("")}
	for i, image := range images {
		if slices.ContainsFunc(images[:i], func(other *Image) bool { return other.GoArch() == image.GoArch() }) {
			return Pushed{}, fmt.Errorf("making the index: two images for %s: name one", image.GoArch())
		}
		index.Manifests = append(index.Manifests, image.descriptor())
	}
	m, err := encode(index)
	if err != nil {
		return Pushed{}, fmt.Errorf("making the index: %w", err)
	}
	if o.Digest != "" && o.Digest != m.Digest().String() {
		return Pushed{}, fmt.Errorf("the index is %s, want %s: one of its images differs", m.Digest(), o.Digest)
	}
	if err := r.Check(ctx, m.Digest().String(), o.PushOptions, false); err != nil {
		return Pushed{}, err
	}
	p := &push{Repository: r}
	for _, image := range images {
		if image.home.String() == r.String() {
			continue
		}
		err := p.image(ctx, image)
		if err == nil {
			_, err = p.finish(ctx, image.manifest, PushOptions{})
		}
		if err != nil {
			return Pushed{}, fmt.Errorf("copying the image of %s: %w", image.GoArch(), err)
		}
	}
	return p.finish(ctx, m, o.PushOptions)
}

// find reads the images. The error lists all that are missing.
func (r *Repository) find(ctx context.Context, wanted []IndexImage) ([]*Image, error) {
	var images []*Image
	var missing []string
	for _, w := range wanted {
		ref, err := name.ParseReference(w.Reference)
		if err != nil {
			return nil, fmt.Errorf("reading the image of %s: reference %q: want NAME:TAG or NAME@sha256:<64 hex digits>", w.GoArch, w.Reference)
		}
		home, err := r.options.Client.Repository(ref.Context().Name())
		if err != nil {
			return nil, fmt.Errorf("reading the image of %s: %w", w.GoArch, err)
		}
		m, err := home.Manifest(ctx, ref.Identifier())
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case oci.IsNotFound(err) && w.Optional:
			r.options.Report.Note("payload", fmt.Sprintf("no image for %s (%s): the index is made without it", w.GoArch, w.Reference))
			continue
		case oci.IsNotFound(err):
			missing = append(missing, fmt.Sprintf("%s (%s)", w.GoArch, w.Reference))
			continue
		}
		if err == nil {
			err = r.accepts(ctx, home, m)
		}
		var image *Image
		if err == nil {
			image, err = imageOf(ctx, home, m, w.GoArch)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the image of %s: %s: %w", w.GoArch, w.Reference, err)
		}
		images = append(images, image)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no image for %s: push it, or excuse the architecture with --allow-missing", strings.Join(missing, ", "))
	}
	if len(images) == 0 {
		return nil, errors.New("an index without images: push one for at least one architecture")
	}
	return images, nil
}
