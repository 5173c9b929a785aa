package kernel

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	disk "github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// checkModules checks the signature of every module in the secondary tarball.
func (f *files) checkModules() (saw string, err error) {
	tarball := f.t.Outputs[ModulesOutput]
	if tarball == "" {
		return "", report.Missing("there is no tarball of the modules next to the kernel's")
	}
	modules, compressed, err := f.unpackModules(tarball)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", tarball, err)
	case len(modules)+len(compressed) == 0:
		return "", fmt.Errorf("no modules in %s", tarball)
	case len(compressed) > 0:
		return "", fmt.Errorf("%d modules are compressed, %s first: install them as .ko", len(compressed), compressed[0])
	}
	by, certificate := " by the tree's certificate", (*x509.Certificate)(nil)
	if f.Certificate == nil {
		by = "; the signer is not checked: the tree declares no certificate"
	} else if certificate, err = parseCertificate(f.Certificate); err != nil {
		return "", fmt.Errorf("the certificate of the tree: %w", err)
	}
	var problems []error
	signed, hash := 0, ""
	for n, name := range modules {
		module, err := os.ReadFile(f.modulePath(n))
		if err != nil {
			return "", err
		}
		signature, err := parseSignature(module)
		if errors.Is(err, errUnsigned) && f.options["CONFIG_MODULE_SIG"] != "y" {
			continue
		}
		if err == nil && certificate != nil {
			err = signature.verify(certificate)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			continue
		}
		signed, hash = signed+1, signature.hash.String()
	}
	if len(problems) == 0 && signed == 0 {
		return "", report.Missing(fmt.Sprintf("%d modules, unsigned, as CONFIG_MODULE_SIG is off", len(modules)))
	}
	return fmt.Sprintf("%d of %d modules are signed with %s%s", signed, len(modules), hash, by), errors.Join(problems...)
}

// modulePath is where a module is unpacked.
func (f *files) modulePath(n int) string { return f.t.Path(fmt.Sprintf("module-%d", n)) }

// unpackModules unpacks the modules of a tarball, and returns their names, and the names
// of compressed modules, which it does not unpack.
func (f *files) unpackModules(tarball string) (modules, compressed []string, err error) {
	const maxModule = 1 << 30
	file, err := disk.OpenNamed(tarball)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	_, err = archive.Extract(file, func(name string, size int64) (string, error) {
		if strings.Contains(path.Base(name), ".ko.") {
			compressed = append(compressed, name)
		}
		if path.Ext(name) != ".ko" {
			return "", nil
		}
		if size > maxModule {
			return "", fmt.Errorf("it has %d bytes: a module has at most %d", size, maxModule)
		}
		modules = append(modules, name)
		return f.modulePath(len(modules) - 1), nil
	})
	return modules, compressed, err
}

// parseCertificate reads a PEM certificate.
func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// errUnsigned is for a module without a signature.
var errUnsigned = errors.New("the module is not signed")

// signature is the signature of a module.
type signature struct {
	algorithm
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

// parseSignature splits a module from what scripts/sign-file of Linux appends: a PKCS#7
// message without attributes, a struct module_signature, and a line of text.
func parseSignature(module []byte) (s signature, err error) {
	rest, signed := bytes.CutSuffix(module, []byte("~Module signature appended~\n"))
	if !signed {
		return s, errUnsigned
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
	return signature{algorithms[known], rest[:split], signer.Signature}, nil
}

// verify checks that the key of a certificate made the signature. Like the kernel, it
// ignores the dates of the certificate.
func (s signature) verify(certificate *x509.Certificate) error {
	chosen := s.rsa
	if certificate.PublicKeyAlgorithm == x509.ECDSA {
		chosen = s.ecdsa
	}
	if err := certificate.CheckSignature(chosen, s.content, s.signature); err != nil {
		return fmt.Errorf("the signature is not by the key of certificate %x: %w", certificate.SerialNumber, err)
	}
	return nil
}
