package payload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
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

// basePace is that of asking for a base: where nobody answers, that is soon known.
var basePace = pace{tries: 2, first: 250 * time.Millisecond, longest: 10 * time.Second, stall: 20 * time.Second}

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
	found, reached, err := readBase(ctx, o, ref)
	var refused *transport.Error
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return base{}, fmt.Errorf("getting the base %s: %w", o.Base, context.Cause(ctx))
	case o.RequireBase, reached, errors.As(err, &refused):
		return base{}, fmt.Errorf("getting the base %s: %w", o.Base, failure{err})
	}
	o.Remote.say(fmt.Sprintf("the base %s cannot be had (%s): the image is made from an empty one", o.Base, reason(err)))
	return base{}, nil
}

// readBase tells, beside the base, whether a registry had it to give.
func readBase(ctx context.Context, o Options, ref name.Digest) (found base, reached bool, err error) {
	pace := basePace
	if o.Remote.pace.tries > 0 {
		pace = o.Remote.pace
	}
	client, err := o.Remote.connect(ctx, ref.Repository, pace, ref.Scope(transport.PullScope))
	if err != nil {
		return base{}, false, err
	}
	descriptor, err := remote.Get(ref, remote.WithContext(ctx), remote.WithTransport(client.Transport),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: o.GoArch}))
	if err != nil {
		return base{}, false, err
	}
	image, err := descriptor.Image()
	if err != nil {
		return base{}, true, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return base{}, true, err
	}
	if config.Architecture != o.GoArch || config.OS != "linux" {
		return base{}, true, fmt.Errorf("it is for %s/%s, want linux/%s", config.OS, config.Architecture, o.GoArch)
	}
	layers, err := image.Layers()
	if err != nil {
		return base{}, true, err
	}
	for i, l := range layers {
		if layers[i], err = asOCI(l); err != nil {
			return base{}, true, err
		}
	}
	return base{
		ref:    o.Base,
		origin: origin{ref.RegistryStr(), ref.RepositoryStr()},
		layers: layers, config: *config.Config.DeepCopy(), variant: config.Variant,
	}, true, nil
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
