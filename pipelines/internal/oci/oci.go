// Package oci reads and writes OCI content: repositories of a registry, image
// layouts on disk, and archives of one image. It is the only importer of
// oras-go.
//
// The one idea: the name of a blob is its digest, and the blob is checked against it
// whenever it moves. So a transfer can stop anywhere and resume there, in both
// directions, and no source of a blob needs to be trusted.
//
// Oras-go logs in, reads the credentials of the docker config, and handles manifests,
// tags, and referrers with their fallback tag. This package adds what neither it nor
// go-containerregistry does: downloads that resume from a partial file, even another
// process's, and uploads that resume from the offset that the registry names; lookups
// of manifests and blobs in registries that omit the length or the digest of an answer;
// a layout that any number of processes share, whose index is replaced by rename and
// rebuilt when it is damaged (content/oci reads every manifest when it opens a layout,
// and writes index.json in place); and archives that are reproducible to the byte.
package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// ErrNotFound is the error for a tag, manifest or blob that does not exist.
var ErrNotFound = errdef.ErrNotFound

// Limits in bytes. Registries accept manifests up to the first. A descriptor of a blob
// larger than the last is damage: no machine could hold it.
const (
	MaxManifest = 4 << 20
	MaxDocument = 64 << 20
	maxBlob     = 1 << 42
)

// Damage is the error of content that does not match its name. Its text continues a
// sentence whose subject is the content: "it has lost its config".
type Damage struct{ What string }

func (d *Damage) Error() string { return d.What }

// Damaged returns a Damage with a formatted text.
func Damaged(format string, args ...any) error { return &Damage{fmt.Sprintf(format, args...)} }

// IsDamage reports whether an error is a Damage.
func IsDamage(err error) bool {
	var damage *Damage
	return errors.As(err, &damage)
}

// Manifest is a manifest or an index, with its original bytes.
type Manifest struct {
	ocispec.Manifest
	// Data are the bytes; their digest is the manifest's name.
	Data []byte
}

// ParseManifest parses a manifest. The error is *Damage.
func ParseManifest(data []byte) (Manifest, error) {
	m := Manifest{Data: data}
	if len(data) > MaxManifest {
		return Manifest{}, Damaged("has a manifest of more than %d bytes", MaxManifest)
	}
	if err := json.Unmarshal(data, &m.Manifest); err != nil {
		return Manifest{}, Damaged("has a manifest that is not JSON: %v", err)
	}
	for _, part := range m.Parts() {
		if part.Digest.Validate() != nil || part.Digest.Algorithm() != digest.SHA256 || part.Size < 0 || part.Size > maxBlob {
			return Manifest{}, Damaged("names a part of %d bytes by %q, want a sha256 digest and at most %d bytes", part.Size, part.Digest, int64(maxBlob))
		}
	}
	return m, nil
}

// NewManifest encodes an image manifest.
func NewManifest(m ocispec.Manifest) (Manifest, error) {
	m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
	data, err := json.Marshal(m)
	if err != nil {
		return Manifest{}, fmt.Errorf("encoding a manifest: %w", err)
	}
	return Manifest{m, data}, nil
}

// Descriptor returns the descriptor of the manifest.
func (m Manifest) Descriptor() ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(m.MediaType, m.Data)
	d.ArtifactType = m.ArtifactType
	return d
}

// Digest returns the digest of the manifest.
func (m Manifest) Digest() digest.Digest { return digest.FromBytes(m.Data) }

// Parts returns the config and the layers of a manifest. An index has none.
func (m Manifest) Parts() []ocispec.Descriptor {
	if m.Config.Digest == "" && len(m.Layers) == 0 {
		return nil
	}
	return append([]ocispec.Descriptor{m.Config}, m.Layers...)
}

// Bare returns a descriptor with only the fields that every reader knows.
func Bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// Total returns the size of some blobs in bytes, at most math.MaxInt64.
func Total(blobs []ocispec.Descriptor) (size int64) {
	for _, d := range blobs {
		if d.Size > math.MaxInt64-size {
			return math.MaxInt64
		}
		size += d.Size
	}
	return size
}

// IsNotFound reports whether an error is ErrNotFound.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
