package payload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Image is an image that was built here, or found in a registry. Its layers are read
// when it is written.
type Image struct {
	manifest oci.Manifest
	config   v1.ConfigFile
	// raw are the bytes of the configuration.
	raw    []byte
	layers []Layer
	// base is the reference of the base by digest, "" for none.
	base string
	// home is the repository that has the image, nil for one that was built here.
	home *oci.Repository
}

// Layer is a layer of an image.
type Layer struct {
	// Component is the asset in the layer, "" for none; Title describes the layer to
	// people.
	Component string `json:"component,omitempty"`
	Title     string `json:"title"`
	// Digest is the digest of the blob, Size its length in bytes.
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`

	mediaType types.MediaType
	// diffID is the digest of the plain tar.
	diffID  v1.Hash
	content oci.Content
	// home is a repository that has the layer, nil for none.
	home *oci.Repository
}

func (l Layer) blob() oci.Blob {
	return oci.Blob{Descriptor: ocispec.Descriptor{Digest: l.Digest, Size: l.Size}, Content: l.content}
}

// annotations depend only on the bytes of a component, not on where its tarball came
// from: equal components make equal images.
func (l Layer) annotations() map[string]string {
	annotations := map[string]string{annotation + "title": l.Title}
	if l.Component != "" {
		annotations[componentKey] = l.Component
	}
	return annotations
}

// Digest returns the digest of the manifest: "sha256:...".
func (i *Image) Digest() string { return i.manifest.Digest().String() }

// GoArch returns the architecture.
func (i *Image) GoArch() string { return i.config.Architecture }

// Base returns the reference of the base, or "" if there is none.
func (i *Image) Base() string { return i.base }

// Layers returns the layers, lowest first.
func (i *Image) Layers() []Layer { return slices.Clone(i.layers) }

// Size returns the bytes of all layers.
func (i *Image) Size() (size int64) {
	for _, l := range i.layers {
		size += l.Size
	}
	return size
}

// descriptor returns the entry of the image in an index or a layout.
func (i *Image) descriptor() v1.Descriptor {
	return v1.Descriptor{
		MediaType: types.MediaType(i.manifest.MediaType), Digest: hashOf(i.manifest.Digest()), Size: int64(len(i.manifest.Data)),
		Platform: &v1.Platform{OS: "linux", Architecture: i.config.Architecture, Variant: i.config.Variant},
	}
}

func hashOf(d digest.Digest) v1.Hash {
	return v1.Hash{Algorithm: d.Algorithm().String(), Hex: d.Encoded()}
}

// assemble puts layers onto a base, which may be nil.
func assemble(o Options, base *Image, own []Layer) (*Image, error) {
	if base == nil {
		base = &Image{}
	}
	image := &Image{base: base.base, layers: slices.Concat(base.layers, own)}
	created, labels := o.Labels.time(), o.Labels.of(base.base)
	image.config = v1.ConfigFile{
		Architecture: o.GoArch, OS: "linux", Variant: base.config.Variant, Created: created,
		RootFS: v1.RootFS{Type: "layers"}, Config: base.config.Config,
	}
	image.config.Config.Labels = labels
	if o.installs() {
		image.config.Config.Entrypoint, image.config.Config.Cmd = []string{"/" + Installer}, nil
	}
	if o.Entrypoint != nil || o.Command != nil {
		image.config.Config.Entrypoint, image.config.Config.Cmd = o.Entrypoint, o.Command
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: labels}
	for i, l := range image.layers {
		d := v1.Descriptor{MediaType: l.mediaType, Size: l.Size, Digest: hashOf(l.Digest)}
		by := "base " + base.base
		if i >= len(base.layers) {
			by, d.Annotations = "kata-pipelines "+l.Title, l.annotations()
		}
		manifest.Layers = append(manifest.Layers, d)
		image.config.RootFS.DiffIDs = append(image.config.RootFS.DiffIDs, l.diffID)
		image.config.History = append(image.config.History, v1.History{Created: created, CreatedBy: by})
	}
	var err error
	if image.raw, err = json.Marshal(image.config); err != nil {
		return nil, err
	}
	manifest.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(image.raw)), Digest: hashOf(digest.FromBytes(image.raw))}
	image.manifest, err = encode(manifest)
	return image, err
}

// encode encodes a manifest or an index, and parses it as package oci does.
func encode(manifest any) (oci.Manifest, error) {
	data, err := json.Marshal(manifest)
	if err != nil {
		return oci.Manifest{}, err
	}
	return oci.ParseManifest(data)
}

// imageOf reads the configuration of an image that a repository has.
func imageOf(ctx context.Context, home *oci.Repository, m oci.Manifest, goarch string) (*Image, error) {
	if isIndex(m) || len(m.Parts()) == 0 {
		return nil, fmt.Errorf("it is of type %s: want the image of one architecture", m.MediaType)
	}
	image := &Image{manifest: m, home: home}
	var err error
	if image.raw, err = home.Read(ctx, m.Config, oci.MaxManifest); err != nil {
		return nil, err
	}
	config := &image.config
	if err := json.Unmarshal(image.raw, config); err != nil {
		return nil, fmt.Errorf("its configuration is not JSON: %w", err)
	}
	if config.Architecture != goarch || config.OS != "linux" {
		return nil, fmt.Errorf("it is for %s/%s, want linux/%s", config.OS, config.Architecture, goarch)
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("it has %d layers, but its configuration lists %d", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	for i, d := range m.Layers {
		image.layers = append(image.layers, Layer{
			Title: "a layer of " + goarch, Digest: d.Digest, Size: d.Size, mediaType: types.MediaType(d.MediaType),
			diffID: config.RootFS.DiffIDs[i], content: remoteBlob{ctx, home, d}, home: home,
		})
	}
	return image, nil
}

func isIndex(m oci.Manifest) bool { return types.MediaType(m.MediaType).IsIndex() }

// remoteBlob is the content of a blob of a registry. A Content is opened without a
// context, so this keeps that of the caller who reads the image.
type remoteBlob struct {
	ctx        context.Context
	repository *oci.Repository
	descriptor ocispec.Descriptor
}

// Open opens the blob at an offset.
func (b remoteBlob) Open(offset int64) (io.ReadCloser, error) {
	content := b.repository.Reader(b.ctx, b.descriptor)
	if _, err := io.CopyN(io.Discard, content, offset); err != nil {
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}
