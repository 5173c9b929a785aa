package payload

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// IndexImage is the image of one architecture.
type IndexImage struct {
	GoArch string
	// Reference is NAME:TAG or NAME@sha256:..., in any repository.
	Reference string
	// Optional is an image that may be missing.
	Optional bool
}

// IndexOptions say what an index is made of, and called.
type IndexOptions struct {
	Images []IndexImage
	Labels Labels
	PushOptions
}

// errMissing is an image that is not in its repository.
var errMissing = errors.New("not there")

// PushIndex makes one image of those of several architectures, in their order, and
// gives it its tags. Images of other repositories are copied first. One that is
// missing is an error unless it is optional; so is one of another architecture.
func (r *Repository) PushIndex(ctx context.Context, o IndexOptions) (Pushed, error) {
	images, err := r.find(ctx, o.Images)
	if err != nil {
		return Pushed{}, err
	}
	index, digest, err := indexOf(images, o.Labels)
	if err != nil {
		return Pushed{}, fmt.Errorf("making the index: %w", err)
	}
	if o.Digest != "" && o.Digest != digest.String() {
		return Pushed{}, fmt.Errorf("the index is %s, and was to be %s: one of its images is another", digest, o.Digest)
	}
	m, err := manifestOf(index)
	if err != nil {
		return Pushed{}, fmt.Errorf("making the index: %w", err)
	}
	if err := r.checkTags(ctx, digest.String(), o.PushOptions); err != nil {
		return Pushed{}, err
	}
	p := &push{Repository: r}
	for _, image := range images {
		if err := p.copy(ctx, image); err != nil {
			return Pushed{}, fmt.Errorf("copying the image of %s: %w", image.goarch, r.hinted(err))
		}
	}
	return p.finish(ctx, m, o.PushOptions)
}

// manifestOf returns that of an index.
func manifestOf(index v1.ImageIndex) (oci.Manifest, error) {
	data, err := index.RawManifest()
	if err != nil {
		return oci.Manifest{}, err
	}
	return oci.ParseManifest(data)
}

// copy has the repository hold an image, which it has already where that is where
// the image was found.
func (p *push) copy(ctx context.Context, image *Image) error {
	if image.origin == (origin{p.Host(), p.Path()}) {
		return nil
	}
	m, err := p.image(ctx, image)
	if err != nil {
		return err
	}
	_, err = p.finish(ctx, m, PushOptions{})
	return err
}

// find reads the images; the names of all that are missing are in one error.
func (r *Repository) find(ctx context.Context, wanted []IndexImage) ([]*Image, error) {
	var images []*Image
	var missing []string
	for _, w := range wanted {
		image, err := r.readImage(ctx, w)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errMissing) && w.Optional:
			r.options.Report.Note("payload", fmt.Sprintf("no image for %s (%s): the index is made without it", w.GoArch, w.Reference))
		case errors.Is(err, errMissing):
			missing = append(missing, fmt.Sprintf("%s (%s)", w.GoArch, w.Reference))
		case err != nil:
			return nil, fmt.Errorf("reading the image of %s: %w", w.GoArch, err)
		default:
			images = append(images, image)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no image for %s: push it, or excuse the architecture with --allow-missing", strings.Join(missing, ", "))
	}
	if len(images) == 0 {
		return nil, errors.New("an index of no image: push one for at least one architecture")
	}
	return images, nil
}

// readImage reads an image from a registry.
func (r *Repository) readImage(ctx context.Context, wanted IndexImage) (*Image, error) {
	ref, err := name.ParseReference(wanted.Reference)
	if err != nil {
		return nil, fmt.Errorf("reference %q: want NAME:TAG or NAME@sha256:<64 hex digits>", wanted.Reference)
	}
	repository, err := r.client.Repository(ref.Context().Name())
	if err != nil {
		return nil, err
	}
	found, err := readImage(ctx, repository, ref.Identifier(), "")
	if oci.IsNotFound(err) {
		return nil, errMissing
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wanted.Reference, err)
	}
	image, err := partial.CompressedToImage(found)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wanted.Reference, err)
	}
	return remoteImage(image, wanted, origin{repository.Host(), repository.Path()})
}

// remoteImage describes an image that a registry has.
func remoteImage(image v1.Image, wanted IndexImage, from origin) (*Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	if config.OS != "linux" || config.Architecture != wanted.GoArch {
		return nil, fmt.Errorf("%s is for %s/%s, want linux/%s", wanted.Reference, config.OS, config.Architecture, wanted.GoArch)
	}
	made := &Image{image: image, goarch: wanted.GoArch, variant: config.Variant, origin: from, from: map[v1.Hash]origin{}}
	if made.digest, err = image.Digest(); err != nil {
		return nil, err
	}
	name, err := image.ConfigName()
	if err != nil {
		return nil, err
	}
	made.from[name] = from
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		made.from[digest] = from
		if err := made.add(l, "", "a layer of "+wanted.GoArch); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func indexOf(images []*Image, labels Labels) (v1.ImageIndex, v1.Hash, error) {
	var addenda []mutate.IndexAddendum
	for i, image := range images {
		for _, other := range images[:i] {
			if other.goarch == image.goarch {
				return nil, v1.Hash{}, fmt.Errorf("two images for %s: name one", image.goarch)
			}
		}
		addenda = append(addenda, mutate.IndexAddendum{Add: image.image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: image.goarch, Variant: image.variant},
		}})
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), addenda...)
	annotated, ok := mutate.Annotations(index, labels.of(base{})).(v1.ImageIndex)
	if !ok {
		return nil, v1.Hash{}, errors.New("the index has no annotations any more")
	}
	digest, err := annotated.Digest()
	return annotated, digest, err
}
