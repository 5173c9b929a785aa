package oci

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// embedded is the size, in bytes, up to which a document is also in the manifest that
// attaches it, so that reading it takes one request.
const embedded = 128 << 10

// NewReferrer returns a manifest that attaches a document to another manifest, its
// subject, and the blobs of that manifest. The document has the artifact type as its
// media type. A registry lists the annotations with the referrers of the subject.
func NewReferrer(subject ocispec.Descriptor, artifactType string, document []byte, annotations map[string]string) (Manifest, []Blob, error) {
	subject = Bare(subject)
	layer := BytesBlob(artifactType, document)
	empty := BytesBlob(ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data)
	described := layer.Descriptor
	if len(document) <= embedded {
		described.Data = document
	}
	m, err := NewManifest(ocispec.Manifest{
		ArtifactType: artifactType,
		Config:       empty.Descriptor,
		Layers:       []ocispec.Descriptor{described},
		Subject:      &subject,
		Annotations:  annotations,
	})
	return m, []Blob{empty, layer}, err
}

// Attach pushes a referrer, after its blobs, under its digest. The subject should be
// there: some registries refuse a referrer without it.
func (r *Repository) Attach(ctx context.Context, m Manifest, blobs []Blob) error {
	for _, b := range blobs {
		if _, err := r.Push(ctx, b, Sending{Title: "a document about " + m.Subject.Digest.String()}); err != nil {
			return err
		}
	}
	return r.PutManifest(ctx, m, "")
}

// embeddedIn returns the document that a descriptor carries, nil if it carries none or
// another one.
func embeddedIn(d ocispec.Descriptor) []byte {
	if len(d.Data) == 0 || int64(len(d.Data)) != d.Size || BytesBlob("", d.Data).Digest != d.Digest {
		return nil
	}
	return d.Data
}
