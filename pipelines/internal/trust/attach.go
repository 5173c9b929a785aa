package trust

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// BundleType is the artifact type of a bundle.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Annotations of a bundle's manifest, as cosign writes them.
const (
	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
)

const (
	// maxBundles is how many bundles about one manifest are read, maxBundle the largest.
	maxBundles = 32
	maxBundle  = 4 << 20
)

// Bundles reads the bundles about a manifest, one after the other: first those that are
// listed as being of a predicate type. What a registry says about them is not trusted. An
// error ends them, unless it is a *Refusal, for one bundle that cannot be used.
func Bundles(ctx context.Context, from *oci.Repository, subject digest.Digest, predicateType string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		listed, err := from.Referrers(ctx, subject, BundleType, maxBundles)
		if err != nil {
			yield(nil, err)
			return
		}
		slices.SortStableFunc(listed, func(a, b ocispec.Descriptor) int { return rank(a, predicateType) - rank(b, predicateType) })
		for _, d := range listed {
			data, err := read(ctx, from, d)
			if oci.IsDamage(err) || oci.IsNotFound(err) {
				err = refused("has a signature that the registry lists and does not have (%v)", err)
			}
			if !yield(data, err) || err != nil && !IsRefusal(err) {
				return
			}
		}
	}
}

func rank(d ocispec.Descriptor, predicateType string) int {
	if d.Annotations[predicateAnnotation] == predicateType {
		return 0
	}
	return 1
}

// read reads a bundle. A small one is in its manifest.
func read(ctx context.Context, from *oci.Repository, d ocispec.Descriptor) ([]byte, error) {
	m, err := from.Manifest(ctx, d.Digest.String())
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != 1 {
		return nil, oci.Damaged("has %d layers, want one", len(m.Layers))
	}
	return from.Read(ctx, m.Layers[0], maxBundle)
}

// Accepted returns the first bundle about a manifest of a repository that the policy
// accepts, with its statement. The error is *Refusal, or that of the registry.
func (p *Policy) Accepted(ctx context.Context, from *oci.Repository, want Wanted) ([]byte, Statement, error) {
	var reasons []error
	for data, err := range Bundles(ctx, from, digest.Digest(want.Digest), want.Type) {
		var statement Statement
		if err == nil {
			statement, err = p.Check(data, want, time.Now())
		}
		if err == nil {
			return data, statement, nil
		}
		if !IsRefusal(err) {
			return nil, statement, err
		}
		reasons = append(reasons, err)
	}
	return nil, Statement{}, p.Refuse(want.Role, reasons)
}

// Seal signs a statement about a manifest that was pushed, and attaches it, unless the
// signer has signed one that says the same. So the next push completes one that ended
// before it.
func (s *Signer) Seal(ctx context.Context, to *oci.Repository, m oci.Manifest, p Predicate) error {
	want := Wanted{Type: p.Type, Digest: m.Digest().String(), Claim: p.Claim, Role: p.Role}
	if _, _, err := s.own.Accepted(ctx, to, want); !IsRefusal(err) {
		return err
	}
	data, err := s.Sign(ctx, []Subject{{to.String(), want.Digest}}, p.Type, p.Content)
	if err != nil {
		return err
	}
	referrer, blobs, err := NewReferrer(m, p.Type, data)
	if err == nil {
		err = to.Attach(ctx, referrer, blobs)
	}
	if err != nil {
		return fmt.Errorf("attaching the signature: %w", err)
	}
	return nil
}

// NewReferrer returns the manifest that attaches a bundle to another manifest.
func NewReferrer(m oci.Manifest, predicateType string, bundle []byte) (oci.Manifest, []oci.Blob, error) {
	annotations := map[string]string{contentAnnotation: "dsse-envelope", predicateAnnotation: predicateType}
	return oci.NewReferrer(m.Descriptor(), BundleType, bundle, annotations)
}
