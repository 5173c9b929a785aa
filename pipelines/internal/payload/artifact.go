package payload

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Artifact is what a registry keeps like an image, but which is none: a chart.
type Artifact struct {
	// ConfigType and Type are the media types of Config and Content.
	ConfigType, Type string
	Config, Content  []byte
	Labels           Labels
}

// Image returns the artifact as Push takes it.
func (a Artifact) Image() (*Image, error) {
	layer := Layer{
		Title: a.Labels.Title, Digest: digest.FromBytes(a.Content), Size: int64(len(a.Content)), mediaType: types.MediaType(a.Type), content: oci.Bytes(a.Content),
	}
	m, err := encode(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: a.Labels.of(""),
		Config: v1.Descriptor{MediaType: types.MediaType(a.ConfigType), Size: int64(len(a.Config)), Digest: hashOf(digest.FromBytes(a.Config))},
		Layers: []v1.Descriptor{{MediaType: layer.mediaType, Size: layer.Size, Digest: hashOf(layer.Digest)}},
	})
	return &Image{manifest: m, raw: a.Config, layers: []Layer{layer}}, err
}
