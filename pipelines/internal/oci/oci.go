// Package oci reads and writes OCI content: repositories of a registry, image
// layouts on disk, and archives of one image. It is the only importer of
// oras-go.
//
// The one idea: a blob has one name, its digest, and is checked against it
// whenever it moves. So a transfer can stop anywhere and go on from there, in
// both directions, and nothing is believed for where it came from.
//
// Oras-go does the logging in, the credentials of the docker config, manifests,
// tags, and referrers with their fallback tag. Written by hand is what neither
// it nor go-containerregistry does: blobs that resume after a lost connection,
// downwards from a partial file that another process left and upwards from the
// offset that the registry names; manifests and lookups of blobs where a registry leaves out
// the length or the digest of an answer; a layout whose index is replaced by rename,
// shared by any number of processes, and rebuilt when it is damaged (content/oci
// reads every manifest when it opens a layout and writes index.json in place);
// and archives that are the same bytes each time.
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

// ErrNotFound is the error for what is not there.
var ErrNotFound = errdef.ErrNotFound

// Limits in bytes. Registries accept manifests up to the first; no blob that a
// machine could hold is over the last, so that one is damage.
const (
	MaxManifest = 4 << 20
	MaxDocument = 64 << 20
	maxBlob     = 1 << 42
)

// Damage is content that is not what its name says; it reads on from "it".
type Damage struct{ What string }

// Error says what is wrong.
func (d *Damage) Error() string { return d.What }

// Damaged makes a Damage.
func Damaged(format string, args ...any) error { return &Damage{fmt.Sprintf(format, args...)} }

// IsDamage tells damage from other errors.
func IsDamage(err error) bool {
	var damage *Damage
	return errors.As(err, &damage)
}

// Manifest is a manifest, or an index, as it was read.
type Manifest struct {
	ocispec.Manifest
	// Data are its bytes, whose digest is its name.
	Data []byte
}

// ParseManifest reads a manifest; the error is *Damage.
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

// NewManifest returns the image manifest of what it says.
func NewManifest(m ocispec.Manifest) (Manifest, error) {
	m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
	data, err := json.Marshal(m)
	if err != nil {
		return Manifest{}, fmt.Errorf("encoding a manifest: %w", err)
	}
	return Manifest{m, data}, nil
}

// Descriptor returns that of the manifest.
func (m Manifest) Descriptor() ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(m.MediaType, m.Data)
	d.ArtifactType = m.ArtifactType
	return d
}

// Digest returns that of the manifest.
func (m Manifest) Digest() digest.Digest { return digest.FromBytes(m.Data) }

// Parts returns what a manifest names, the config first. An index has none.
func (m Manifest) Parts() []ocispec.Descriptor {
	if m.Config.Digest == "" && len(m.Layers) == 0 {
		return nil
	}
	return append([]ocispec.Descriptor{m.Config}, m.Layers...)
}

// Bare leaves of a descriptor what every reader knows.
func Bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// Total returns the bytes of some blobs; a sum that is too large is the largest.
func Total(blobs []ocispec.Descriptor) (size int64) {
	for _, d := range blobs {
		if d.Size > math.MaxInt64-size {
			return math.MaxInt64
		}
		size += d.Size
	}
	return size
}

// IsNotFound tells what is not there from other errors.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
