// Package modsig reads the signatures of Linux modules, and knows the signing keys that
// are public: what they sign proves nothing.
package modsig

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	digest "github.com/opencontainers/go-digest"
)

// ParseCertificate reads a PEM certificate.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// ErrUnsigned is for a module without a signature.
var ErrUnsigned = errors.New("the module is not signed")

// Signature is the signature of a module.
type Signature struct {
	// Hash is the digest that was signed.
	Hash crypto.Hash

	algorithm algorithm
	// content is the module without its signature.
	content   []byte
	signature []byte
}

// algorithm is a digest algorithm that CONFIG_MODULE_SIG_HASH may choose.
type algorithm struct {
	oid        asn1.ObjectIdentifier
	hash       crypto.Hash
	rsa, ecdsa x509.SignatureAlgorithm
}

var algorithms = []algorithm{
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256, x509.SHA256WithRSA, x509.ECDSAWithSHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384, x509.SHA384WithRSA, x509.ECDSAWithSHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512, x509.SHA512WithRSA, x509.ECDSAWithSHA512},
}

// message is the signed data of RFC 5652 as Linux writes it. Libraries that read all of
// PKCS#7 recurse as deeply as the message nests, which a hostile module chooses.
type message struct {
	Type       asn1.ObjectIdentifier
	SignedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      struct{ Type asn1.ObjectIdentifier }
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		Signers      []struct {
			Version           int
			ID                asn1.RawValue
			Digest, Algorithm pkix.AlgorithmIdentifier
			Signature         []byte
		} `asn1:"set"`
	} `asn1:"explicit,tag:0"`
}

// Parse splits a module from what scripts/sign-file of Linux appends: a PKCS#7
// message without attributes, a struct module_signature, and a line of text.
func Parse(module []byte) (s Signature, err error) {
	rest, signed := bytes.CutSuffix(module, []byte("~Module signature appended~\n"))
	if !signed {
		return s, ErrUnsigned
	}
	const trailer, typePKCS7 = 12, 2
	if len(rest) < trailer {
		return s, errors.New("the signature is cut short")
	}
	rest, info := rest[:len(rest)-trailer], rest[len(rest)-trailer:]
	length := int64(binary.BigEndian.Uint32(info[8:]))
	if info[2] != typePKCS7 || length > int64(len(rest)) {
		return s, fmt.Errorf("a signature of type %d with %d bytes: want type %d, PKCS#7, inside of the %d bytes there are",
			info[2], length, typePKCS7, len(rest))
	}
	split := int64(len(rest)) - length
	var m message
	if _, err := asn1.Unmarshal(rest[split:], &m); err != nil {
		return s, fmt.Errorf("reading the PKCS#7 message: %w", err)
	}
	if signedData := (asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}); !m.Type.Equal(signedData) {
		return s, fmt.Errorf("the PKCS#7 message has type %s: want %s, signed data", m.Type, signedData)
	}
	if len(m.SignedData.Signers) != 1 {
		return s, fmt.Errorf("%d signers: want one", len(m.SignedData.Signers))
	}
	signer := m.SignedData.Signers[0]
	used := signer.Digest.Algorithm
	known := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.oid.Equal(used) })
	if known < 0 {
		return s, fmt.Errorf("the digest algorithm %s is not one that Linux signs with today", used)
	}
	return Signature{algorithms[known].hash, algorithms[known], rest[:split], signer.Signature}, nil
}

// Verify checks that the key of a certificate made the signature. Like the kernel, it
// ignores the dates of the certificate.
func (s Signature) Verify(certificate *x509.Certificate) error {
	chosen := s.algorithm.rsa
	if certificate.PublicKeyAlgorithm == x509.ECDSA {
		chosen = s.algorithm.ecdsa
	}
	if err := certificate.CheckSignature(chosen, s.content, s.signature); err != nil {
		return fmt.Errorf("the signature is not by the key of certificate %x: %w", certificate.SerialNumber, err)
	}
	return nil
}

// published are the certificates of the keys that are public, in PEM.
//
//go:embed public.pem
var published []byte

// public returns the certificates of the keys that are public.
func public() (certificates []*x509.Certificate) {
	for block, rest := pem.Decode(published); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic("modsig/public.pem: " + err.Error()) // A test parses it.
		}
		certificates = append(certificates, certificate)
	}
	return certificates
}

// IsPublic reports whether the private key of a certificate is public. The fingerprint is
// that of the certificate, "sha256:<hex>".
func IsPublic(fingerprint string) bool {
	return slices.ContainsFunc(public(), func(c *x509.Certificate) bool { return digest.FromBytes(c.Raw).String() == fingerprint })
}

// ByPublicKey reports whether a public key made the signature of a module.
func ByPublicKey(s Signature) bool {
	return slices.ContainsFunc(public(), func(c *x509.Certificate) bool { return s.Verify(c) == nil })
}
