package debian

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// created is the time stamp of an image and of its files. A constant, so that
// the same packages make the same image.
var created = time.Unix(1772323200, 0).UTC() // 2026-03-01

// wrap writes a layer, an uncompressed tar, as an image of an architecture to path
// and returns the digest of its manifest.
func wrap(ctx context.Context, path, layer, arch string) (string, error) {
	blob, err := oci.Describe(ctx, v1.MediaTypeImageLayer, layer)
	if err != nil {
		return "", fmt.Errorf("reading the layer: %w", err)
	}
	data, err := json.Marshal(v1.Image{
		Created:  &created,
		Platform: v1.Platform{Architecture: arch, OS: "linux"},
		Config: v1.ImageConfig{
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Cmd: []string{"/bin/sh"},
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{blob.Digest}},
		History: []v1.History{{Created: &created, CreatedBy: "mmdebstrap"}},
	})
	if err != nil {
		return "", fmt.Errorf("encoding the configuration of the image: %w", err)
	}
	config := oci.BytesBlob(v1.MediaTypeImageConfig, data)
	m, err := oci.NewManifest(v1.Manifest{Config: config.Descriptor, Layers: []v1.Descriptor{blob}})
	if err != nil {
		return "", err
	}
	if err := oci.WriteArchive(ctx, path, m, []oci.Blob{config, {Descriptor: blob, Content: oci.File(layer)}}); err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	return m.Digest().String(), nil
}

// intact returns the digest of a base that is as it was made. Its error is
// fs.ErrNotExist where there is none.
func intact(ctx context.Context, path string) (string, error) {
	file, err := files.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	m, blobs, err := oci.ReadArchive(file)
	for _, b := range blobs {
		if err == nil {
			err = b.Verify(ctx)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return m.Digest().String(), nil
}
