package trust

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Statement is a statement whose signature was accepted.
type Statement struct {
	// Signer is the name in the policy.
	Signer string
	// Proof is that of a verdict.
	Proof []byte
	// Time is when it was signed, as the signer says; zero if the predicate has none.
	Time time.Time
}

// Check returns the statement of a bundle that says what is wanted and has an accepted
// signature. Otherwise the error is *Refusal. Now is the machine's time.
func (p *Policy) Check(data []byte, want Wanted, now time.Time) (Statement, error) {
	s, err := p.check(data, want, now)
	if err != nil {
		return s, &Refusal{err.Error()}
	}
	return s, nil
}

func (p *Policy) check(data []byte, want Wanted, now time.Time) (s Statement, err error) {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return s, errors.New("has a signature that is not a Sigstore bundle")
	}
	signer, err := p.signerOf(&b, want.Role)
	if err != nil {
		return s, err
	}
	if err := p.verify(&b, signer, want.Digest); err != nil {
		return s, err
	}
	s.Signer = signer.Name
	claim, err := s.read(&b, want.Type)
	if err != nil {
		return s, err
	}
	for name, value := range want.Claim {
		if claim[name] != value {
			return s, fmt.Errorf("has a signature of %s for %s", signer.Name, claim)
		}
	}
	if end := signer.end; !end.IsZero() && (!now.Before(end) || !s.Time.Before(end)) {
		return s, fmt.Errorf("is signed with the key of %s, which ended on %s (this machine's date is %s)", signer.Name, signer.Until, now.UTC().Format(time.DateOnly))
	}
	return s, nil
}

// signerOf returns the signer of the policy that a bundle names, whatever its signature.
func (p *Policy) signerOf(b *bundle.Bundle, role Role) (signer PolicySigner, err error) {
	content, err := b.VerificationContent()
	if err != nil {
		return signer, errors.New("has a signature without a key")
	}
	var who string
	var is func(PolicySigner) bool
	if leaf := content.Certificate(); leaf != nil {
		summary, err := certificate.SummarizeCertificate(leaf)
		if err != nil {
			return signer, fmt.Errorf("has a signature with an unusable certificate (%w)", err)
		}
		who = "the identity " + summary.SubjectAlternativeName
		is = func(s PolicySigner) bool {
			return s.Identity == summary.SubjectAlternativeName && s.Issuer == summary.Issuer
		}
	} else {
		id := content.PublicKey().Hint()
		who = "the key " + id
		is = func(s PolicySigner) bool { return s.public != nil && s.id == id }
	}
	for _, s := range p.Signers {
		if is(s) {
			if signer = s; slices.Contains(s.Signs, role) {
				return s, nil
			}
		}
	}
	if signer.Name != "" {
		return signer, fmt.Errorf("is signed by %s, who may not sign for the role %s", signer.Name, role)
	}
	return signer, fmt.Errorf("is signed by %s, which is not in the policy", who)
}

// verify checks the signature of a bundle, and that its statement is about a digest.
func (p *Policy) verify(b *bundle.Bundle, signer PolicySigner, digest string) error {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		return fmt.Errorf("has the digest %q: %w", digest, err)
	}
	var verifier *verify.Verifier
	identity := verify.WithKey()
	if signer.public != nil {
		material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return signer.verifier() })
		verifier, err = verify.NewVerifier(material, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	} else {
		verifier, err = p.identities()
		if err == nil {
			var wanted verify.CertificateIdentity
			wanted, err = verify.NewShortCertificateIdentity(signer.Issuer, "", signer.Identity, "")
			identity = verify.WithCertificateIdentity(wanted)
		}
	}
	if err != nil {
		return err
	}
	if _, err := verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", raw), identity)); err != nil {
		return fmt.Errorf("has a signature of %s that is not valid for it (%w)", signer.Name, err)
	}
	return nil
}

// identities returns the verifier of certificates: it wants an entry of the log, a time
// that somebody else has confirmed, and a certificate that was logged, if the roots have
// a log of those.
func (p *Policy) identities() (*verify.Verifier, error) {
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1), verify.WithoutStatementPredicate()}
	if len(p.material.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	return verify.NewVerifier(p.material, options...)
}

// read reads the statement of a bundle whose signature was accepted.
func (s *Statement) read(b *bundle.Bundle, wantType string) (Claim, error) {
	envelope, err := b.Envelope()
	if err != nil {
		return nil, errors.New("has a signature without a statement")
	}
	payload, err := envelope.RawEnvelope().DecodeB64Payload()
	if err != nil {
		return nil, errors.New("has a signature of an unreadable statement")
	}
	var said struct {
		Type      string          `json:"predicateType"`
		Predicate json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(payload, &said); err != nil {
		return nil, fmt.Errorf("has a signature of an unreadable statement (%w)", err)
	}
	if said.Type != wantType {
		return nil, fmt.Errorf("has a signature of %s for a statement of type %s", s.Signer, said.Type)
	}
	if wantType == VerdictType {
		var v verdict
		if err := json.Unmarshal(said.Predicate, &v); err != nil || v.Proof == nil {
			return nil, fmt.Errorf("has a verdict of %s without a proof", s.Signer)
		}
		s.Proof = v.Proof
		return v.claim(), nil
	}
	var provenance struct {
		BuildDefinition struct{ ExternalParameters map[string]any }
		RunDetails      struct {
			Metadata struct{ FinishedOn time.Time }
		}
	}
	if err := json.Unmarshal(said.Predicate, &provenance); err != nil {
		return nil, fmt.Errorf("has a provenance of %s that is not readable (%w)", s.Signer, err)
	}
	s.Time = provenance.RunDetails.Metadata.FinishedOn
	claim := Claim{}
	for name, value := range provenance.BuildDefinition.ExternalParameters {
		if text, ok := value.(string); ok {
			claim[name] = text
		}
	}
	return claim, nil
}
