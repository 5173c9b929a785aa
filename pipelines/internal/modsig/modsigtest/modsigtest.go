// Package modsigtest signs modules as Linux does, for tests.
package modsigtest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
)

// SHA512 is the digest that modules are signed with.
var SHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}

// Certificate returns a certificate for a key, and the same in DER.
func Certificate(key crypto.Signer) (*x509.Certificate, []byte, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: "kata"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, der, err
}

// issuer, signer, content, signedData and message are those of RFC 5652.
type issuer struct {
	Name   asn1.RawValue
	Serial *big.Int
}

type signer struct {
	Version   int
	Issuer    issuer
	Digest    pkix.AlgorithmIdentifier
	Algorithm pkix.AlgorithmIdentifier
	Signature []byte
}

type content struct{ Type asn1.ObjectIdentifier }

type signedData struct {
	Version int
	Digests []pkix.AlgorithmIdentifier `asn1:"set"`
	Content content
	Signers []signer `asn1:"set"`
}

type message struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue
}

// Sign returns the signed module. The digest is SHA-512 whatever the message
// says.
func Sign(module []byte, key crypto.Signer, certificate *x509.Certificate, says asn1.ObjectIdentifier) ([]byte, error) {
	sum := sha512.Sum512(module)
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA512)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	digest := pkix.AlgorithmIdentifier{Algorithm: says}
	inner, err := asn1.Marshal(signedData{
		1, []pkix.AlgorithmIdentifier{digest}, content{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}}, []signer{{
			1, issuer{asn1.RawValue{FullBytes: certificate.RawIssuer}, certificate.SerialNumber}, digest,
			pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}}, signature,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the signed data: %w", err)
	}
	outer, err := asn1.Marshal(message{
		asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2},
		asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the message: %w", err)
	}
	return Append(module, outer, 2), nil
}

// Append appends a message of a kind, 2 for PKCS#7, and the mark.
func Append(module, message []byte, kind byte) []byte {
	out := append(bytes.Clone(module), message...)
	out = append(out, 0, 0, kind, 0, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(message)))
	return append(out, "~Module signature appended~\n"...)
}
