package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Kind is a kind of document about an entry: the artifact type of the manifest that
// attaches the document, and the media type of its one layer.
type Kind string

// The kinds. The store does not interpret a proof or a list of contents.
const (
	// Proof is a verdict of `pipelines verify`.
	Proof Kind = "application/vnd.kata-containers.asset.proof.v1+json"
	// Bundle is a signed statement.
	Bundle Kind = trust.BundleType
	// SBOM is a list of contents, in SPDX 2.3.
	SBOM Kind = "application/spdx+json"
)

// prefixes begin the tags in a layout.
var prefixes = map[Kind]string{Proof: "proof-", Bundle: "bundle-", SBOM: "sbom-"}

const (
	// maxAttached is the largest size of a document, in bytes.
	maxAttached = 4 << 20
	// maxReferrers is how many documents of one kind about one entry are read from a
	// registry, at most.
	maxReferrers = 256
)

// referrer names a document about an entry: a manifest with one layer, whose subject is
// the entry's manifest. In a registry, it is a referrer of that. A layout has no list of
// referrers: there, its tag is made of both digests.
type referrer struct {
	// name is the layout, and the repository, of the subject.
	name string
	Kind
	digest, subject digest.Digest
}

func (a referrer) validate() error {
	if err := errors.Join(a.digest.Validate(), a.subject.Validate()); err != nil {
		return fmt.Errorf("%s %q of %q: %w", a.what(), a.digest, a.subject, err)
	}
	return validateName("asset name", a.name)
}

func (a referrer) claim() trust.Claim      { return nil }
func (a referrer) place() (string, string) { return a.name, a.digest.String() }
func (a referrer) local() string {
	return prefixes[a.Kind] + a.subject.Encoded() + "-" + a.digest.Encoded()[:12]
}

// what names the kind in messages.
func (a referrer) what() string { return prefixes[a.Kind][:len(prefixes[a.Kind])-1] }

func (a referrer) String() string { return fmt.Sprintf("%s %s of %s", a.what(), a.digest, a.name) }

func (a referrer) check(m oci.Manifest) error {
	found, err := referrerOf(a.name, m)
	if err == nil && found.Kind != a.Kind {
		err = oci.Damaged("is a %s", found.what())
	}
	if err == nil && found.subject != a.subject {
		err = oci.Damaged("is a %s of %s", found.what(), found.subject)
	}
	return err
}

// referrerOf returns the name of the document that a manifest of a layout attaches. The
// error for any other manifest is *oci.Damage.
func referrerOf(name string, m oci.Manifest) (referrer, error) {
	a := referrer{name: name, Kind: Kind(m.ArtifactType), digest: m.Digest()}
	switch {
	case prefixes[a.Kind] == "" || len(m.Layers) != 1 || m.Subject == nil || m.Subject.Digest.Validate() != nil:
		return a, oci.Damaged("is not the manifest of a document about an entry")
	case m.Layers[0].Size > maxAttached:
		return a, oci.Damaged("has %d bytes, more than %d", m.Layers[0].Size, maxAttached)
	}
	a.subject = m.Subject.Digest
	return a, nil
}

// Attach stores a document about an artifact of the store; Registry.Push pushes it with
// the artifact. Storing the same document again changes nothing.
func (s *Local) Attach(ctx context.Context, artifact Artifact, kind Kind, document []byte) error {
	if len(document) == 0 || len(document) > maxAttached {
		return fmt.Errorf("a %s of %s has %d bytes, want 1 to %d", referrer{Kind: kind}.what(), artifact.Asset, len(document), maxAttached)
	}
	of, err := s.find(ctx, artifact.Ref)
	if err == nil && of.Digest() != artifact.Manifest.Digest() {
		err = fmt.Errorf("the local cache has another build of %s: %w", artifact.Ref, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("storing a %s: %w", referrer{Kind: kind}.what(), err)
	}
	m, blobs, err := oci.NewReferrer(of.Descriptor(), string(kind), document, nil)
	if err != nil {
		return err
	}
	return s.keep(ctx, artifact.Asset, m, blobs)
}

// keep stores a referrer in a layout.
func (s *Local) keep(ctx context.Context, name string, m oci.Manifest, blobs []oci.Blob) error {
	a, err := referrerOf(name, m)
	if err != nil {
		return err
	}
	return s.layout(name).Add(ctx, a.local(), m, blobs)
}

// Attached returns the documents of a kind about an artifact in both tiers, each once. A
// failing registry or a damaged document is a warning. If the policy requires signatures,
// the registry's proofs are those of signed verdicts.
func (t *Tiered) Attached(ctx context.Context, artifact Artifact, kind Kind) (documents [][]byte, err error) {
	refs, err := t.referrers(ctx, artifact.Asset, artifact.Manifest.Digest(), kind)
	if err == nil && t.Registry != nil && kind == Proof && t.Guard.Required() != nil {
		documents, err = t.Registry.verdicts(ctx, artifact)
	} else if err == nil && t.Registry != nil {
		var remote []referrer
		remote, err = t.Registry.referrers(ctx, artifact, kind)
		refs = append(refs, slices.DeleteFunc(remote, func(a referrer) bool { return slices.Contains(refs, a) })...)
	}
	if err != nil {
		return nil, err
	}
	for _, a := range refs {
		document, err := t.document(ctx, a)
		if err == nil && !slices.ContainsFunc(documents, func(d []byte) bool { return bytes.Equal(d, document) }) {
			documents = append(documents, document)
		} else if ignoreMiss(err) != nil {
			return nil, err
		}
	}
	return documents, nil
}

// document reads a document from the local store, or else from the registry.
func (t *Tiered) document(ctx context.Context, a referrer) ([]byte, error) {
	m, where, err := find(ctx, t.Local, t.Registry, a)
	switch {
	case err != nil:
		return nil, err
	case where == InRegistry:
		return t.Registry.document(ctx, a, m.Layers[0])
	}
	document, err := t.layout(a.name).Read(ctx, a.what(), m.Layers[0], maxAttached)
	return document, t.missed(a, err)
}

// read reads a document of the store.
func (s *Local) read(ctx context.Context, a referrer) ([]byte, error) {
	return (&Tiered{Local: s}).document(ctx, a)
}

// referrers returns the names of the documents of some kinds about a manifest of a layout.
// It skips invalid names.
func (s *Local) referrers(ctx context.Context, name string, subject digest.Digest, kinds ...Kind) (refs []referrer, err error) {
	index, err := s.layout(name).Index(ctx)
	for _, d := range index.Manifests {
		a := referrer{name, Kind(d.ArtifactType), d.Digest, subject}
		if slices.Contains(kinds, a.Kind) && a.validate() == nil && d.Annotations[ocispec.AnnotationRefName] == a.local() {
			refs = append(refs, a)
		}
	}
	return refs, err
}

// referrers returns the names of the registry's documents of a kind about an artifact,
// sorted by digest. If the registry failed before, it reports that and returns none.
func (r *Registry) referrers(ctx context.Context, artifact Artifact, kind Kind) (refs []referrer, err error) {
	what := referrer{Kind: kind}.what()
	if r.ignored(artifact.Ref) {
		r.client.Note(fmt.Sprintf("%s failed before: continuing without its %ss of %s, if it has any", r, what, artifact.Ref))
		return nil, nil
	}
	repository, err := r.repository(artifact.Ref)
	if err != nil {
		return nil, err
	}
	subject := artifact.Manifest.Digest()
	listed, err := repository.Referrers(ctx, subject, string(kind), maxReferrers+1)
	if err != nil {
		return nil, ignoreMiss(r.absent(artifact.Ref, err))
	}
	if len(listed) > maxReferrers {
		r.client.Note(fmt.Sprintf("%s has more than %d %ss of %s: reading the first", r, maxReferrers, what, artifact.Ref))
	}
	for _, d := range listed[:min(len(listed), maxReferrers)] {
		refs = append(refs, referrer{artifact.Asset, kind, d.Digest, subject})
	}
	return refs, nil
}

// sendReferrers pushes those documents about a manifest that a store has and the registry
// lacks: all but signatures, which the registry's own signer makes.
func (r *Registry) sendReferrers(ctx context.Context, of oci.Manifest, name string, from *Local) error {
	refs, err := from.referrers(ctx, name, of.Digest(), Proof, SBOM)
	for _, a := range refs {
		m, findErr := from.find(ctx, a)
		if findErr == nil {
			_, findErr = r.publish(ctx, a, m, from.blobs(name, m))
		}
		err = errors.Join(err, ignoreMiss(findErr))
	}
	return err
}
