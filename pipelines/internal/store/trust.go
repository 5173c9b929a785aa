package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Guard decides which entries of other machines are used. The zero value lets all in.
type Guard struct {
	Mode   trust.Mode
	Policy *trust.Policy
}

// Required returns the policy if what it does not accept must not be used, or else nil.
func (g Guard) Required() *trust.Policy {
	if g.Mode != trust.Require {
		return nil
	}
	return g.Policy
}

// builtHere is the origin of an entry that this machine made: it needs no signature.
const builtHere = "built here"

// wanted returns the statement that an entry needs; ok is false if it needs none.
func (g Guard) wanted(e entry, m oci.Manifest) (want trust.Wanted, ok bool) {
	want = trust.Wanted{Type: trust.ProvenanceType, Role: trust.Cache, Digest: m.Digest().String(), Claim: e.claim()}
	return want, want.Claim != nil && g.Policy != nil && (g.Mode == trust.Warn || g.Mode == trust.Require)
}

// trusts checks an entry of the store. The error is *trust.Refusal for one that must not
// be used.
func (s *Local) trusts(ctx context.Context, e entry, m oci.Manifest) error {
	want, ok := s.Guard.wanted(e, m)
	if !ok || m.Origin == builtHere {
		return nil
	}
	name, _ := e.place()
	refs, err := s.referrers(ctx, name, m.Digest(), Bundle)
	if err != nil {
		return err
	}
	var reasons []error
	for _, a := range refs {
		data, err := s.read(ctx, a)
		if err == nil {
			_, err = s.Guard.Policy.Check(data, want, time.Now())
		}
		if err == nil {
			return nil
		}
		if !trust.IsRefusal(err) && !IsNotFound(err) {
			return err
		}
		reasons = append(reasons, err)
	}
	err = s.Guard.Policy.Refuse(want.Role, reasons)
	if s.Guard.Mode == trust.Warn {
		s.layout(name).Note(fmt.Sprintf("using the stored %s although it %v", e, err))
		return nil
	}
	return err
}

// judgment is the outcome of checking an entry of a registry.
type judgment struct {
	bundle []byte
	signed trust.Statement
	err    error
}

// judge checks an entry of the registry, once. The error is *trust.Refusal for one that
// must not be used, or that of the registry.
func (r *Registry) judge(ctx context.Context, e entry, m oci.Manifest) (judgment, error) {
	want, ok := r.Guard.wanted(e, m)
	if !ok {
		return judgment{}, nil
	}
	if before, found := r.judged.Load(want.Digest + want.Claim.String()); found {
		return before.(judgment), before.(judgment).err
	}
	repository, err := r.repository(e)
	if err != nil {
		return judgment{}, err
	}
	var j judgment
	j.bundle, j.signed, j.err = r.Guard.Policy.Accepted(ctx, repository, want)
	if j.err != nil && !trust.IsRefusal(j.err) {
		return j, j.err
	}
	if j.err != nil && r.Guard.Mode == trust.Warn {
		r.client.Note(fmt.Sprintf("using the %s in %s although it %v", e, r, j.err))
		j.err = nil
	}
	r.judged.Store(want.Digest+want.Claim.String(), j)
	return j, j.err
}

// seenFolder is next to the layouts. It has, for each moving tag, when the newest artifact
// was signed that the tag was seen at.
const seenFolder = ".seen"

// seen warns if a moving tag is at an artifact that was signed before one that the tag was
// seen at: the branch was reverted, or somebody has put an old artifact back. Moving tags
// are only compared with, so it stays a warning.
func (t *Tiered) seen(ctx context.Context, artifact Artifact, tag string) error {
	j, err := t.Registry.judge(ctx, artifact.Ref, artifact.Manifest)
	if err != nil || j.signed.Time.IsZero() {
		return err
	}
	path := filepath.Join(t.dir, seenFolder, artifact.Asset, tag)
	var newest time.Time
	if before, err := files.Read(path, 64); err == nil {
		_ = newest.UnmarshalText(before) // A damaged one counts as none.
	}
	if j.signed.Time.Before(newest) {
		t.Registry.client.Note(fmt.Sprintf("the tag %s of %s in %s is at an artifact of %s, and was at one of %s: the branch was reverted, or an old artifact was put back",
			tag, artifact.Asset, t.Registry, j.signed.Time.Format(time.DateTime), newest.Format(time.DateTime)))
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("creating a folder of the store: %w", err)
	}
	return files.Write(path, []byte(j.signed.Time.Format(time.RFC3339)), 0o644)
}

// admit stores an entry that was pulled, with the signature that let it in.
func (r *Registry) admit(ctx context.Context, e entry, m oci.Manifest, signed judgment, into *Local) error {
	name, _ := e.place()
	m.Origin = r.String()
	if signed.bundle != nil {
		bundle, blobs, err := trust.NewReferrer(m, trust.ProvenanceType, signed.bundle)
		if err == nil {
			err = into.keep(ctx, name, bundle, blobs)
		}
		if err != nil {
			return err
		}
	}
	return into.layout(name).Add(ctx, e.local(), m, nil)
}

// signs reports whether the signer may sign an entry that the registry has: it is that of
// the store, and was built there, or the policy let it in.
func (r *Registry) signs(ctx context.Context, e entry, there oci.Manifest, from *Local) (bool, error) {
	if r.Signer == nil {
		return false, nil
	}
	own, err := from.find(ctx, e)
	if err != nil || own.Digest() != there.Digest() {
		return false, ignoreMiss(err)
	}
	if own.Origin != builtHere && from.Guard.Required() == nil {
		r.client.Note(fmt.Sprintf("not signing the %s: the cache does not know that it was built here, and no policy requires its signature", e))
		return false, nil
	}
	return true, nil
}

// seal signs statements about an entry that was pushed, in the role of the cache.
func (r *Registry) seal(ctx context.Context, e entry, there oci.Manifest, statements ...trust.Predicate) error {
	repository, err := r.repository(e)
	for _, p := range statements {
		if err == nil {
			p.Role = trust.Cache
			err = r.Signer.Seal(ctx, repository, there, p)
		}
	}
	return err
}

// sealArtifact signs the provenance of an artifact, and its proofs in the store, which were
// made here.
func (r *Registry) sealArtifact(ctx context.Context, ref Ref, there oci.Manifest, from *Local) error {
	if ok, err := r.signs(ctx, ref, there, from); !ok || err != nil {
		return err
	}
	l := from.layout(ref.Asset)
	recipe, err := l.Read(ctx, "recipe", there.Config, oci.MaxDocument)
	if err != nil {
		return err
	}
	record, err := l.Read(ctx, "record", there.Layers[1], oci.MaxDocument)
	if err != nil {
		return err
	}
	provenance, err := trust.Provenance{Claim: ref.claim(), Recipe: recipe, Record: record}.Predicate()
	if err != nil {
		return err
	}
	statements := []trust.Predicate{provenance}
	refs, err := from.referrers(ctx, ref.Asset, there.Digest(), Proof)
	for _, a := range refs {
		proof, err := from.read(ctx, a)
		if err != nil {
			return err
		}
		verdict, err := trust.Verdict(proof)
		if err != nil {
			return err
		}
		statements = append(statements, verdict)
	}
	if err != nil {
		return err
	}
	return r.seal(ctx, ref, there, statements...)
}

// verdicts returns the registry's proofs of an artifact whose signatures the policy
// accepts.
func (r *Registry) verdicts(ctx context.Context, artifact Artifact) (proofs [][]byte, err error) {
	repository, err := r.repository(artifact.Ref)
	if err != nil {
		return nil, err
	}
	want := trust.Wanted{Type: trust.VerdictType, Role: trust.Cache, Digest: artifact.Manifest.Digest().String()}
	for data, err := range trust.Bundles(ctx, repository, artifact.Manifest.Digest(), want.Type) {
		var signed trust.Statement
		if err == nil {
			signed, err = r.Guard.Policy.Check(data, want, time.Now())
		}
		if err != nil && !trust.IsRefusal(err) {
			return nil, ignoreMiss(r.absent(artifact.Ref, err))
		}
		if err == nil {
			proofs = append(proofs, signed.Proof)
		}
	}
	return proofs, nil
}

// sealBuilder signs a builder of a store that was pushed.
func (r *Registry) sealBuilder(ctx context.Context, b builderRef, there oci.Manifest, from *Local) error {
	if ok, err := r.signs(ctx, b, there, from); !ok || err != nil {
		return err
	}
	record, err := json.Marshal(map[string]string{"base": there.Annotations[baseAnnotation]})
	if err != nil {
		return fmt.Errorf("encoding the base of a builder: %w", err)
	}
	provenance, err := trust.Provenance{Claim: b.claim(), Record: record}.Predicate()
	if err != nil {
		return err
	}
	return r.seal(ctx, b, there, provenance)
}

// sealSource signs a source that the caller has compared with its hash.
func (r *Registry) sealSource(ctx context.Context, h sourceRef, there oci.Manifest) error {
	provenance, err := trust.Provenance{Claim: trust.Claim{"source": string(h)}}.Predicate()
	if err != nil {
		return err
	}
	return r.seal(ctx, h, there, provenance)
}
