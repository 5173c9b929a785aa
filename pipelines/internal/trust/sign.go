package trust

import (
	"bytes"
	"context"
	"fmt"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// Signer signs statements, with a key or with the identity of a CI job.
type Signer struct {
	// key is nil for an identity, and keyless for a key, whose name in bundles is id.
	key     signature.Signer
	id      string
	keyless *keyless
	// own accepts what the signer signed before.
	own *Policy
}

// Subject is what a statement is about: a manifest or a file, and its name in messages.
type Subject struct {
	Name string
	// Digest is "sha256:<hex>".
	Digest string
}

// LoadKey returns the signer of a private key in PEM, as `cosign generate-key-pair` or
// `openssl genpkey` writes it. The passphrase is that of an encrypted key.
func LoadKey(pem []byte, passphrase string) (*Signer, error) {
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, cryptoutils.StaticPasswordFunc([]byte(passphrase)))
	if err != nil {
		return nil, fmt.Errorf("reading the signing key (PEM, and its passphrase if it is encrypted): %w", err)
	}
	key, err := signature.LoadDefaultSigner(private)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	own := PolicySigner{Name: "this key", Signs: []Role{Cache, Release}}
	if own.public, err = key.PublicKey(); err == nil {
		own.id, err = keyID(own.public)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	return &Signer{key: key, id: own.id, own: &Policy{file: "the signer", Signers: []PolicySigner{own}}}, nil
}

// Sign returns a bundle over a statement about subjects. Messages name the first.
func (s *Signer) Sign(ctx context.Context, subjects []Subject, predicateType string, predicate []byte) ([]byte, error) {
	about := subjects[0]
	payload, err := statement(subjects, predicateType, predicate)
	if err != nil {
		return nil, fmt.Errorf("encoding a statement about %s: %w", about.Name, err)
	}
	content := &sign.DSSEData{Data: payload, PayloadType: payloadType}
	var made *protobundle.Bundle
	if s.keyless != nil {
		made, err = s.keyless.sign(ctx, content)
	} else {
		made, err = s.sign(content)
	}
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", about.Name, err)
	}
	data, err := protojson.Marshal(made)
	if err != nil {
		return nil, fmt.Errorf("encoding the signature of %s: %w", about.Name, err)
	}
	return data, nil
}

// Signed reports whether a bundle is the signer's own, and says what is wanted.
func (s *Signer) Signed(bundle []byte, want Wanted) bool {
	_, err := s.own.Check(bundle, want, time.Now())
	return err == nil
}

// sign signs with the key.
func (s *Signer) sign(content *sign.DSSEData) (*protobundle.Bundle, error) {
	signed, err := s.key.SignMessage(bytes.NewReader(content.PreAuthEncoding()))
	if err != nil {
		return nil, err
	}
	key := &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: s.id}}
	made := &protobundle.Bundle{MediaType: BundleType, VerificationMaterial: &protobundle.VerificationMaterial{Content: key}}
	content.Bundle(made, signed, nil, protocommon.HashAlgorithm_HASH_ALGORITHM_UNSPECIFIED)
	return made, nil
}
