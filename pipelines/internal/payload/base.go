package payload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// CheckBase refuses a base that is not named by its digest; "" is none.
func CheckBase(ref string) error {
	if ref == "" {
		return nil
	}
	if _, err := name.NewDigest(ref, name.WithDefaultTag("")); err != nil {
		return fmt.Errorf("base %q: want NAME@sha256:<64 hex digits>: only a digest identifies an image", ref)
	}
	return nil
}

// findBase reads the manifest and the configuration of the base; its layers are read
// when they are needed. It returns nil if there is no base, or if no registry answers
// and the options allow that.
func findBase(ctx context.Context, o Options) (*Image, error) {
	if o.Base == "" {
		return nil, nil
	}
	base, err := readBase(ctx, o)
	var failure *oci.Failure
	switch {
	case err == nil:
		return base, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !o.RequireBase && errors.As(err, &failure) && oci.Status(err) == 0:
		o.Remote.Report.Note("payload", fmt.Sprintf("no registry has the base %s (%s): the image starts from an empty one", o.Base, oci.Reason(failure.Err)))
		return nil, nil
	}
	return nil, fmt.Errorf("getting the base %s: %w", o.Base, err)
}

// layerTypes maps the types of the layers of a base to those of the image: manifests do
// not mix docker's types with OCI's.
var layerTypes = map[types.MediaType]types.MediaType{
	types.DockerLayer: types.OCILayer, types.DockerUncompressedLayer: types.OCIUncompressedLayer,
	types.OCILayer: types.OCILayer, types.OCIUncompressedLayer: types.OCIUncompressedLayer, types.OCILayerZStd: types.OCILayerZStd,
}

func readBase(ctx context.Context, o Options) (*Image, error) {
	ref, err := name.NewDigest(o.Base, name.WithDefaultTag(""))
	if err != nil {
		return nil, err // CheckBase has accepted it.
	}
	home, err := o.Remote.Client.Repository(ref.Context().Name())
	if err != nil {
		return nil, err
	}
	m, err := home.Manifest(ctx, ref.DigestStr())
	if err == nil && isIndex(m) {
		m, err = pick(ctx, home, m, o.GoArch)
	}
	if err != nil {
		return nil, err
	}
	base, err := imageOf(ctx, home, m, o.GoArch)
	if err != nil {
		return nil, err
	}
	base.base = o.Base
	for i, l := range base.layers {
		var known bool
		if base.layers[i].mediaType, known = layerTypes[l.mediaType]; !known {
			return nil, fmt.Errorf("it has a layer of type %s: want an uncompressed one, or gzip or zstd", l.mediaType)
		}
		base.layers[i].Title = "base"
	}
	return base, nil
}

// pick reads the manifest that an index lists for an architecture.
func pick(ctx context.Context, home *oci.Repository, index oci.Manifest, goarch string) (oci.Manifest, error) {
	var list v1.IndexManifest
	if err := json.Unmarshal(index.Data, &list); err != nil {
		return oci.Manifest{}, fmt.Errorf("it is not an index: %w", err)
	}
	i := slices.IndexFunc(list.Manifests, func(d v1.Descriptor) bool {
		return d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == goarch
	})
	if i < 0 {
		return oci.Manifest{}, fmt.Errorf("it has no image for linux/%s", goarch)
	}
	return home.Manifest(ctx, list.Manifests[i].Digest.String())
}
