package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// A proof is a manifest with one layer, whose subject is the artifact's manifest. In a
// registry, it is a referrer of that. A layout has no list of referrers: there, the tag of
// a proof is made of both digests.
const (
	proofType = "application/vnd.kata-containers.asset.proof.v1+json"
	proofTag  = "proof-"
	maxProof  = 4 << 20
	// maxProofs is how many proofs of one artifact are read from a registry, at most.
	maxProofs = 256
)

// proofRef names a proof by its digest.
type proofRef struct {
	asset          string
	digest, proves digest.Digest
}

func (p proofRef) validate() error {
	if err := errors.Join(p.digest.Validate(), p.proves.Validate()); err != nil {
		return fmt.Errorf("proof %q of %q: %w", p.digest, p.proves, err)
	}
	return validateName("asset name", p.asset)
}

func (p proofRef) place() (string, string) { return p.asset, p.digest.String() }
func (p proofRef) local() string {
	return proofTag + p.proves.Encoded() + "-" + p.digest.Encoded()[:12]
}

func (p proofRef) String() string { return fmt.Sprintf("proof %s of %s", p.digest, p.asset) }

func (p proofRef) check(m oci.Manifest) error {
	err := checkProof(m)
	if err == nil && m.Subject.Digest != p.proves {
		err = oci.Damaged("is a proof of %s", m.Subject.Digest)
	}
	return err
}

// checkProof makes sure that a manifest is a proof's. The error is *oci.Damage.
func checkProof(m oci.Manifest) error {
	switch {
	case m.ArtifactType != proofType || len(m.Layers) != 1 || m.Subject == nil || m.Subject.Digest.Validate() != nil:
		return oci.Damaged("is not the manifest of a proof")
	case m.Layers[0].Size > maxProof:
		return oci.Damaged("has %d bytes, more than %d", m.Layers[0].Size, maxProof)
	}
	return nil
}

// PutProof stores a proof of an artifact of the store: bytes that only their producer
// interprets. Storing the same proof again changes nothing.
func (s *Local) PutProof(ctx context.Context, artifact Artifact, proof []byte) error {
	if len(proof) == 0 || len(proof) > maxProof {
		return fmt.Errorf("a proof of %s has %d bytes, want 1 to %d", artifact.Asset, len(proof), maxProof)
	}
	of, err := s.find(ctx, artifact.Ref)
	if err == nil && of.Digest() != artifact.Manifest.Digest() {
		err = fmt.Errorf("the local cache has another build of %s: %w", artifact.Ref, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("storing a proof: %w", err)
	}
	subject := oci.Bare(of.Descriptor())
	layer := oci.BytesBlob(proofType, proof)
	empty := oci.BytesBlob(ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data)
	m, err := oci.NewManifest(ocispec.Manifest{
		ArtifactType: proofType,
		Config:       empty.Descriptor,
		Layers:       []ocispec.Descriptor{layer.Descriptor},
		Subject:      &subject,
	})
	if err != nil {
		return err
	}
	e := proofRef{artifact.Asset, m.Digest(), subject.Digest}
	return s.layout(artifact.Asset).Add(ctx, e.local(), m, []oci.Blob{empty, layer})
}

// Proofs returns the proofs of an artifact in both tiers, each once. A failing registry or
// a damaged proof is a warning.
func (t *Tiered) Proofs(ctx context.Context, artifact Artifact) (proofs [][]byte, err error) {
	refs, err := t.proofs(ctx, artifact.Asset, artifact.Manifest.Digest())
	if err == nil && t.Registry != nil {
		var remote []proofRef
		remote, err = t.Registry.proofs(ctx, artifact)
		refs = append(refs, slices.DeleteFunc(remote, func(e proofRef) bool { return slices.Contains(refs, e) })...)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range refs {
		proof, err := t.proof(ctx, e)
		if err == nil {
			proofs = append(proofs, proof)
		} else if !IsNotFound(err) {
			return nil, err
		}
	}
	return proofs, nil
}

// proof reads a proof from the local store, or else from the registry.
func (t *Tiered) proof(ctx context.Context, e proofRef) ([]byte, error) {
	m, where, err := find(ctx, t.Local, t.Registry, e)
	switch {
	case err != nil:
		return nil, err
	case where == InRegistry:
		return t.Registry.document(ctx, e, m.Layers[0])
	}
	proof, err := t.layout(e.asset).Read(ctx, "proof", m.Layers[0], maxProof)
	return proof, t.missed(e, err)
}

// proofs returns the names of the proofs of a manifest. It skips invalid names.
func (s *Local) proofs(ctx context.Context, asset string, subject digest.Digest) (refs []proofRef, err error) {
	index, err := s.layout(asset).Index(ctx)
	for _, d := range index.Manifests {
		e := proofRef{asset, d.Digest, subject}
		if e.validate() == nil && d.Annotations[ocispec.AnnotationRefName] == e.local() {
			refs = append(refs, e)
		}
	}
	return refs, err
}

// proofs returns the names of the registry's proofs of an artifact, sorted by digest. If
// the registry failed before, it reports that and returns none.
func (r *Registry) proofs(ctx context.Context, artifact Artifact) (refs []proofRef, err error) {
	if r.ignored(artifact.Ref) {
		r.client.Note(fmt.Sprintf("%s failed before: continuing without its proofs of %s, if it has any", r, artifact.Ref))
		return nil, nil
	}
	repository, err := r.repository(artifact.Ref)
	if err != nil {
		return nil, err
	}
	subject := artifact.Manifest.Digest()
	referrers, err := repository.Referrers(ctx, subject, proofType, maxProofs+1)
	if err != nil {
		return nil, ignoreMiss(r.absent(artifact.Ref, err))
	}
	if len(referrers) > maxProofs {
		r.client.Note(fmt.Sprintf("%s has more than %d proofs of %s: reading the first", r, maxProofs, artifact.Ref))
	}
	for _, d := range referrers[:min(len(referrers), maxProofs)] {
		refs = append(refs, proofRef{artifact.Asset, d.Digest, subject})
	}
	return refs, nil
}

// sendProofs pushes those proofs of an artifact that a store has and the registry lacks.
func (r *Registry) sendProofs(ctx context.Context, of oci.Manifest, asset string, from *Local) error {
	refs, err := from.proofs(ctx, asset, of.Digest())
	for _, e := range refs {
		m, findErr := from.find(ctx, e)
		if findErr == nil {
			_, findErr = r.publish(ctx, e, m, from.blobs(asset, m))
		}
		err = errors.Join(err, ignoreMiss(findErr))
	}
	return err
}
