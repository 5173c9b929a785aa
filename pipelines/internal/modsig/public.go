package modsig

import (
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"slices"
)

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
	return slices.ContainsFunc(public(), func(c *x509.Certificate) bool {
		sum := sha256.Sum256(c.Raw)
		return "sha256:"+hex.EncodeToString(sum[:]) == fingerprint
	})
}

// ByPublicKey reports whether a public key made the signature of a module.
func ByPublicKey(s Signature) bool {
	return slices.ContainsFunc(public(), func(c *x509.Certificate) bool { return s.Verify(c) == nil })
}
