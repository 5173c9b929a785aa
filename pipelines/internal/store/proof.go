package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
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

// PutProof keeps a proof of an artifact of the store: bytes that only who made
// them understands. The same proof twice is kept once.
func (s *Store) PutProof(ctx context.Context, artifact Artifact, proof []byte) error {
	if len(proof) == 0 || len(proof) > maxProof {
		return fmt.Errorf("a proof of %s has %d bytes, want 1 to %d", artifact.Asset, len(proof), maxProof)
	}
	l := s.layout(artifact.Asset)
	index, err := l.index(ctx)
	if err != nil {
		return err
	}
	subject, found := find(index, artifact.Tag())
	if !found || subject.Digest.String() != artifact.Manifest {
		return fmt.Errorf("storing a proof: artifact %s of %s in the local cache: %w", artifact.Tag(), artifact.Asset, ErrNotFound)
	}
	layer := content.NewDescriptorFromBytes(proofType, proof)
	data, err := json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: proofType,
		Config:       bare(ocispec.DescriptorEmptyJSON),
		Layers:       []ocispec.Descriptor{layer},
		Subject:      &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	})
	if err != nil {
		return fmt.Errorf("encoding the manifest of a proof: %w", err)
	}
	return l.addProof(ctx, entry{data: data}, subject.Digest, layer, proof)
}

// addProof writes a proof and its manifest into the layout.
func (l *layout) addProof(ctx context.Context, e entry, subject digest.Digest, layer ocispec.Descriptor, proof []byte) error {
	empty := ocispec.DescriptorEmptyJSON
	d := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, e.data)
	d.ArtifactType = proofType
	return l.add(ctx, tagOfProof(subject, d.Digest), []blob{{bare(empty), inMemory(empty.Data)}, {layer, inMemory(proof)}, {d, inMemory(e.data)}})
}

// Proofs returns the proofs of an artifact of the store, in the order of their
// digests. A damaged one is noted and left out.
func (s *Store) Proofs(ctx context.Context, artifact Artifact) ([][]byte, error) {
	l := s.layout(artifact.Asset)
	entries, err := l.proofs(ctx, digest.Digest(artifact.Manifest))
	if err != nil {
		return nil, err
	}
	var proofs [][]byte
	for _, e := range entries {
		proof, err := l.read(ctx, "proof", e.Layers[0], maxProof)
		if IsDamage(err) {
			s.tell(fmt.Sprintf("a stored proof of %s is ignored: it %v", artifact.Asset, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		proofs = append(proofs, proof)
	}
	return proofs, nil
}

// proofs returns the manifests of the proofs of an artifact.
func (l *layout) proofs(ctx context.Context, subject digest.Digest) (entries []entry, err error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("manifest %q of %s: %w", subject, l.asset, err)
	}
	index, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if !strings.HasPrefix(d.Annotations[ocispec.AnnotationRefName], proofTag+subject.Encoded()+"-") {
			continue
		}
		data, err := l.read(ctx, "manifest of a proof", d, maxManifest)
		var e entry
		if err == nil {
			e, err = parseProof(data, subject)
		}
		if IsDamage(err) {
			l.store.tell(fmt.Sprintf("a stored proof of %s is ignored: it %v", l.asset, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseProof reads the manifest of a proof of a subject, or of any where that is
// "". The error is *damage.
func parseProof(data []byte, subject digest.Digest) (entry, error) {
	e, err := parseEntry(data)
	switch {
	case err != nil:
		return entry{}, err
	case e.ArtifactType != proofType || len(e.Layers) != 1 || e.Subject == nil || e.Subject.Digest.Validate() != nil:
		return entry{}, &damage{"is not the manifest of a proof"}
	case subject != "" && e.Subject.Digest != subject:
		return entry{}, &damage{fmt.Sprintf("is a proof of %s", e.Subject.Digest)}
	}
	return e, nil
}

// Proofs returns the proofs that the registry has of an artifact, in the order of
// their digests. What is wrong with the registry, or with a proof, is noted.
func (r *Registry) Proofs(ctx context.Context, artifact Artifact) ([][]byte, error) {
	entries, err := r.proofs(ctx, artifact)
	if err != nil {
		return nil, err
	}
	var proofs [][]byte
	for _, e := range entries {
		proof, err := r.document(ctx, artifact.Asset, e.Layers[0])
		if err != nil {
			if err = r.absent(shared(artifact.Asset, e.descriptor().Digest.String()), "a proof of "+artifact.Asset, err); !IsNotFound(err) {
				return nil, err
			}
			continue
		}
		proofs = append(proofs, proof)
	}
	return proofs, nil
}

// proofs returns the manifests of the proofs that the registry has.
func (r *Registry) proofs(ctx context.Context, artifact Artifact) ([]entry, error) {
	if r.ignored(artifact.Ref) {
		return nil, nil
	}
	referrers, err := r.referrers(ctx, artifact)
	if err != nil {
		if err = r.absent(artifact.Ref, "the list of the proofs of "+artifact.Asset, err); IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	var entries []entry
	for _, d := range referrers {
		e, err := r.entry(ctx, artifact.Asset, d.Digest.String())
		if err == nil && e.ArtifactType != proofType {
			continue
		}
		if err == nil {
			e, err = parseProof(e.data, digest.Digest(artifact.Manifest))
		}
		if err == nil && e.Layers[0].Size > maxProof {
			err = &damage{fmt.Sprintf("has %d bytes, more than %d", e.Layers[0].Size, maxProof)}
		}
		if err != nil {
			if err = r.absent(shared(artifact.Asset, d.Digest.String()), "a proof of "+artifact.Asset, err); !IsNotFound(err) {
				return nil, err
			}
			continue
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// errEnough ends a listing.
var errEnough = errors.New("enough")

// referrers returns what the registry lists as proofs of an artifact: by its API
// for referrers, or by their tag where it has none.
func (r *Registry) referrers(ctx context.Context, artifact Artifact) (all []ocispec.Descriptor, err error) {
	repository, err := r.repository(artifact.Asset)
	if err != nil {
		return nil, err
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(artifact.Manifest)}
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("manifest %q of %s: %w", artifact.Manifest, artifact.Asset, err)
	}
	err = repository.Referrers(ctx, d, "", func(page []ocispec.Descriptor) error {
		for _, d := range page {
			// Some registries list the type of the config in place of the artifact's.
			if d.ArtifactType == proofType || d.ArtifactType == ocispec.MediaTypeEmptyJSON {
				all = append(all, d)
			}
		}
		if len(all) >= maxProofs {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, r.failed(ctx, "listing the proofs of "+artifact.Asset, err)
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return all[:min(len(all), maxProofs)], nil
}

// proofs sends those proofs of the artifact f that the store has and the registry
// lacks.
func (p *pushing) proofs(ctx context.Context, f found) error {
	l := p.from.layout(p.ref.Asset)
	entries, err := l.proofs(ctx, f.descriptor().Digest)
	if err != nil || len(entries) == 0 {
		return err
	}
	there, err := p.referrers(ctx, f.artifact)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.ContainsFunc(there, func(d ocispec.Descriptor) bool { return d.Digest == e.descriptor().Digest }) {
			continue
		}
		for _, part := range e.parts() {
			data, err := l.read(ctx, "proof", part, maxProof)
			if err != nil {
				return fmt.Errorf("a proof of %s to push: %w", p.ref.Asset, err)
			}
			if err := p.upload(ctx, p.repository, p.ref.Asset, blob{part, inMemory(data)}); err != nil {
				return err
			}
		}
		if err := p.repository.Manifests().Push(ctx, e.descriptor(), bytes.NewReader(e.data)); err != nil {
			return p.failed(ctx, "pushing a proof of "+p.ref.Asset, err)
		}
	}
	return nil
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
