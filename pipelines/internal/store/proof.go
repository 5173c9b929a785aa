package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// A proof is a manifest with one layer, whose subject is the artifact's manifest.
// In a registry it is a referrer of that; in a layout, where nothing lists
// referrers, a tag made of both digests leads to it.
const (
	proofType = "application/vnd.kata-containers.asset.proof.v1+json"
	proofTag  = "proof-"
	maxProof  = 4 << 20
	// maxProofs is how many proofs of one artifact are read.
	maxProofs = 64
)

// tagOfProof returns the tag of a proof in a layout.
func tagOfProof(subject, proof digest.Digest) string {
	return proofTag + subject.Encoded() + "-" + proof.Encoded()[:12]
}

// checkProof makes sure that a manifest is that of a proof of a subject, or of any
// where that is "". The error is *oci.Damage.
func checkProof(m oci.Manifest, subject digest.Digest) error {
	switch {
	case m.ArtifactType != proofType || len(m.Layers) != 1 || m.Subject == nil || m.Subject.Digest.Validate() != nil:
		return oci.Damaged("is not the manifest of a proof")
	case subject != "" && m.Subject.Digest != subject:
		return oci.Damaged("is a proof of %s", m.Subject.Digest)
	}
	return nil
}

// PutProof keeps a proof of an artifact of the store: bytes that only who made
// them understands. The same proof twice is kept once.
func (s *Store) PutProof(ctx context.Context, artifact Artifact, proof []byte) error {
	if len(proof) == 0 || len(proof) > maxProof {
		return fmt.Errorf("a proof of %s has %d bytes, want 1 to %d", artifact.Asset, len(proof), maxProof)
	}
	of, err := s.find(ctx, artifact.Ref)
	if err == nil && of.Digest().String() != artifact.Manifest {
		err = fmt.Errorf("%s in the local cache is another build: %w", artifact.Ref, ErrNotFound)
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
	return s.layout(artifact.Asset).Add(ctx, tagOfProof(subject.Digest, m.Digest()), m, []oci.Blob{empty, layer})
}

// proofRef names a proof by its digest.
type proofRef struct {
	asset          string
	digest, proves digest.Digest
}

func (p proofRef) place() (string, string) { return p.asset, p.digest.String() }
func (p proofRef) local() string           { return tagOfProof(p.proves, p.digest) }

// String names the proof in messages.
func (p proofRef) String() string { return fmt.Sprintf("proof %s of %s", p.digest, p.asset) }

func (p proofRef) check(m oci.Manifest) error {
	if err := checkProof(m, p.proves); err != nil {
		return err
	}
	if m.Layers[0].Size > maxProof {
		return oci.Damaged("has %d bytes, more than %d", m.Layers[0].Size, maxProof)
	}
	return nil
}

// Proofs returns the proofs of an artifact of the store, in the order of their
// digests. A damaged one is reported and left out.
func (s *Store) Proofs(ctx context.Context, artifact Artifact) (proofs [][]byte, err error) {
	refs, err := s.proofs(ctx, artifact.Asset, digest.Digest(artifact.Manifest))
	if err != nil {
		return nil, err
	}
	l := s.layout(artifact.Asset)
	for _, e := range refs {
		m, err := s.find(ctx, e)
		var proof []byte
		if err == nil {
			proof, err = l.Read(ctx, "proof", m.Layers[0], maxProof)
		}
		switch {
		case err == nil:
			proofs = append(proofs, proof)
		case IsDamage(err):
			l.Note(fmt.Sprintf("ignoring the stored %s: it %v", e, err))
		case !IsNotFound(err):
			return nil, err
		}
	}
	return proofs, nil
}

// proofs returns the names of the proofs of a manifest.
func (s *Store) proofs(ctx context.Context, asset string, subject digest.Digest) (refs []proofRef, err error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("manifest %q of %s: %w", subject, asset, err)
	}
	index, err := s.layout(asset).Index(ctx)
	for _, d := range index.Manifests {
		if strings.HasPrefix(d.Annotations[ocispec.AnnotationRefName], proofTag+subject.Encoded()+"-") {
			refs = append(refs, proofRef{asset, d.Digest, subject})
		}
	}
	return refs, err
}

// Proofs returns the proofs that the registry has of an artifact, in the order of
// their digests. What is wrong with the registry, or with a proof, is a warning.
func (r *Registry) Proofs(ctx context.Context, artifact Artifact) (proofs [][]byte, err error) {
	subject := digest.Digest(artifact.Manifest)
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("manifest %q of %s: %w", subject, artifact.Asset, err)
	}
	repository, err := r.repository(artifact.Asset)
	if err != nil || r.ignored(artifact.Ref) {
		return nil, err
	}
	referrers, err := repository.Referrers(ctx, subject, proofType, maxProofs)
	if err != nil {
		return nil, ignoreMiss(r.absent(artifact.Ref, err))
	}
	for _, d := range referrers {
		e := proofRef{artifact.Asset, d.Digest, subject}
		m, err := r.lookup(ctx, e)
		var proof []byte
		if err == nil {
			if proof, err = repository.Read(ctx, m.Layers[0], maxProof); err != nil {
				err = r.absent(e, err)
			}
		}
		if ignoreMiss(err) != nil {
			return nil, err
		}
		if err == nil {
			proofs = append(proofs, proof)
		}
	}
	return proofs, nil
}

func ignoreMiss(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}

// sendProofs sends those proofs of an artifact that a store has and the registry
// lacks.
func (r *Registry) sendProofs(ctx context.Context, of oci.Manifest, asset string, from *Store) error {
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

// Proofs returns the proofs of an artifact in both tiers, each once.
func (t *Tiered) Proofs(ctx context.Context, artifact Artifact) ([][]byte, error) {
	proofs, err := t.Local.Proofs(ctx, artifact)
	if err != nil || t.Registry == nil {
		return proofs, err
	}
	remote, err := t.Registry.Proofs(ctx, artifact)
	if err != nil {
		return nil, err
	}
	for _, proof := range remote {
		if !slices.ContainsFunc(proofs, func(have []byte) bool { return bytes.Equal(have, proof) }) {
			proofs = append(proofs, proof)
		}
	}
	return proofs, nil
}

// PutProof is that of the local store.
func (t *Tiered) PutProof(ctx context.Context, artifact Artifact, proof []byte) error {
	return t.Local.PutProof(ctx, artifact, proof)
}
