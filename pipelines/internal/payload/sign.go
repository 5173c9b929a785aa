package payload

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// provenance says what an image or an index is, and what it was made of: layers, or images.
func provenance(path string, m oci.Manifest) (trust.Predicate, error) {
	about := trust.Provenance{Claim: trust.Claim{"image": path}, Role: trust.Release}
	for _, label := range []string{"version", "revision"} {
		if value := m.Annotations[annotation+label]; value != "" {
			about.Claim[label] = value
		}
	}
	var index ocispec.Index
	if err := json.Unmarshal(m.Data, &index); err != nil {
		return trust.Predicate{}, fmt.Errorf("reading the manifest of an image: %w", err)
	}
	for _, d := range append(m.Layers, index.Manifests...) {
		name := cmp.Or(d.Annotations[componentKey], d.Annotations[ocispec.AnnotationTitle], "base")
		if d.Platform != nil {
			name = d.Platform.OS + "/" + d.Platform.Architecture
		}
		about.Materials = append(about.Materials, trust.Resource{Name: name, Digest: map[string]string{"sha256": d.Digest.Encoded()}})
	}
	return about.Predicate()
}

// seal signs what was pushed, if there is a signer.
func (r *Repository) seal(ctx context.Context, m oci.Manifest) error {
	if r.options.Signer == nil {
		return nil
	}
	about, err := provenance(r.Path(), m)
	if err != nil {
		return err
	}
	return r.options.Signer.Seal(ctx, r.Repository, m, about)
}

// Describe attaches a document about its contents to an image that was pushed, unless it is
// there. An index has none: some registries refuse what is not an image in it.
func (r *Repository) Describe(ctx context.Context, image *Image, artifactType string, document []byte) error {
	m, blobs, err := oci.NewReferrer(image.manifest.Descriptor(), artifactType, document, nil)
	if err == nil {
		_, err = r.Manifest(ctx, m.Digest().String())
	}
	if oci.IsNotFound(err) {
		err = r.Attach(ctx, m, blobs)
	}
	if err != nil {
		return fmt.Errorf("attaching a document to the image: %w", err)
	}
	return nil
}

// accepts checks the signature of an image that an index is to have.
func (r *Repository) accepts(ctx context.Context, home *oci.Repository, m oci.Manifest) error {
	if r.options.Policy == nil {
		return nil
	}
	want := trust.Wanted{Type: trust.ProvenanceType, Role: trust.Release, Digest: m.Digest().String(), Claim: trust.Claim{"image": home.Path()}}
	if _, _, err := r.options.Policy.Accepted(ctx, home, want); err != nil {
		return fmt.Errorf("the image %w", err)
	}
	return nil
}
