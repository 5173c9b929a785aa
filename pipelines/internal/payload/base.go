package payload

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// base is what an image begins with; the zero value is an empty one.
type base struct {
	// ref is the reference by digest, or "".
	ref     string
	origin  origin
	layers  []v1.Layer
	config  v1.Config
	variant string
}

// origin is a repository, of a registry, that has a blob.
type origin struct{ registry, repository string }

// CheckBase refuses a base that is not named by its digest; "" is none.
func CheckBase(ref string) error {
	if ref == "" {
		return nil
	}
	if _, err := name.NewDigest(ref, name.WithDefaultTag("")); err != nil {
		return fmt.Errorf("base %q: want NAME@sha256:<64 hex digits>: only a digest says what it is", ref)
	}
	return nil
}

// findBase reads the manifest and the configuration of the base; its layers are
// read when they are needed. Where no registry answers, the base is an empty one.
func findBase(ctx context.Context, o Options) (base, error) {
	if o.Base == "" {
		return base{}, nil
	}
	ref, err := name.NewDigest(o.Base, name.WithDefaultTag(""))
	if err != nil {
		return base{}, err // CheckBase has seen it.
	}
	found, err := readBase(ctx, o, ref)
	var failure *oci.Failure
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return base{}, fmt.Errorf("getting the base %s: %w", o.Base, context.Cause(ctx))
	case o.RequireBase, !errors.As(err, &failure), oci.Status(err) != 0:
		return base{}, fmt.Errorf("getting the base %s: %w", o.Base, err)
	}
	o.Remote.Report.Note("payload", fmt.Sprintf("no registry has the base %s (%s): the image starts from an empty one", o.Base, oci.Reason(failure.Err)))
	return base{}, nil
}

func readBase(ctx context.Context, o Options, ref name.Digest) (base, error) {
	repository, err := o.Remote.client().Repository(ref.Context().Name())
	if err != nil {
		return base{}, err
	}
	found, err := readImage(ctx, repository, ref.DigestStr(), o.GoArch)
	if err != nil {
		return base{}, err
	}
	image, err := partial.CompressedToImage(found)
	if err != nil {
		return base{}, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return base{}, err
	}
	if config.Architecture != o.GoArch || config.OS != "linux" {
		return base{}, fmt.Errorf("it is for %s/%s, want linux/%s", config.OS, config.Architecture, o.GoArch)
	}
	layers, err := image.Layers()
	if err != nil {
		return base{}, err
	}
	for i, l := range layers {
		if layers[i], err = asOCI(l); err != nil {
			return base{}, err
		}
	}
	return base{
		ref:    o.Base,
		origin: origin{repository.Host(), repository.Path()},
		layers: layers, config: *config.Config.DeepCopy(), variant: config.Variant,
	}, nil
}

// ociLayer is a layer whose type is that of OCI: manifests do not mix the two.
type ociLayer struct {
	v1.Layer
	mediaType types.MediaType
}

// MediaType returns that of OCI.
func (l ociLayer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

func asOCI(l v1.Layer) (v1.Layer, error) {
	mediaType, err := l.MediaType()
	if err != nil {
		return nil, err
	}
	switch mediaType {
	case types.DockerLayer:
		return ociLayer{l, types.OCILayer}, nil
	case types.DockerUncompressedLayer:
		return ociLayer{l, types.OCIUncompressedLayer}, nil
	case types.OCILayer, types.OCIUncompressedLayer, types.OCILayerZStd:
		return ociLayer{l, mediaType}, nil
	}
	return nil, fmt.Errorf("it has a layer of type %s: want a plain one, or one of gzip or zstd", mediaType)
}
