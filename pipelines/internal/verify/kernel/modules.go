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
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// checkModules checks the signature of every module of a kernel that has modules.
func (f *files) checkModules() error {
	const name = "module signatures"
	if !f.Modules {
		return nil
	}
	path := f.t.Outputs[ModulesOutput]
	if path == "" {
		f.r.Skip(name, "there is no tarball of the modules next to the kernel's")
		return nil
	}
	dir, err := os.MkdirTemp(f.t.Dir, "modules-")
	if err != nil {
		return fmt.Errorf("making a folder for the modules: %w", err)
	}
	modules, compressed, err := unpackModules(path, dir)
	switch {
	case err != nil:
		f.r.Fail(name, "reading %s: %v", path, err)
	case len(modules)+len(compressed) == 0:
		f.r.Fail(name, "no modules in %s", path)
	case len(compressed) > 0:
		f.r.Fail(name, "%d modules are compressed, %s first: install them as .ko", len(compressed), compressed[0])
	default:
		f.judgeModules(name, modules)
	}
	return nil
}

// module is a module of a tarball, and where it was unpacked.
type module struct{ name, path string }

// unpackModules unpacks the modules of a tarball into a flat folder.
func unpackModules(tarball, dir string) (modules []module, compressed []string, err error) {
	const maxModule = 1 << 30
	file, err := os.Open(tarball)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	_, err = archive.Extract(file, func(name string, size int64) (string, error) {
		if strings.HasSuffix(name, ".ko.xz") || strings.HasSuffix(name, ".ko.zst") || strings.HasSuffix(name, ".ko.gz") {
			compressed = append(compressed, name)
		}
		if !strings.HasSuffix(name, ".ko") {
			return "", nil
		}
		if size > maxModule {
			return "", fmt.Errorf("it has %d bytes: a module has at most %d", size, maxModule)
		}
		m := module{name, filepath.Join(dir, strconv.Itoa(len(modules)))}
		modules = append(modules, m)
		return m.path, nil
	})
	return modules, compressed, err
}

// judgeModules judges the signatures of unpacked modules.
func (f *files) judgeModules(name string, modules []module) {
	certificate, err := certificate(f.Certificate)
	if err != nil {
		f.r.Fail(name, "the certificate of the tree: %v", err)
		return
	}
	var problems []string
	signed, hash := 0, ""
	for _, m := range modules {
		data, err := os.ReadFile(m.path)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		signature, err := parseSignature(data)
		if errors.Is(err, errUnsigned) && f.options["CONFIG_MODULE_SIG"] != "y" {
			continue
		}
		if err == nil && certificate != nil {
			err = signature.verify(certificate)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", m.name, err))
			continue
		}
		signed, hash = signed+1, signature.hash.String()
	}
	switch {
	case len(problems) == 0 && signed == 0:
		f.r.Skip(name, "%d modules, unsigned, as CONFIG_MODULE_SIG is off", len(modules))
	case certificate == nil:
		f.r.Judge(name, problems, "%d of %d modules are signed with %s; the signer is not checked: the tree declares no certificate", signed, len(modules), hash)
	default:
		f.r.Judge(name, problems, "%d of %d modules are signed with %s by the tree's certificate", signed, len(modules), hash)
	}
}

// certificate reads a PEM certificate, nil if there is none.
func certificate(data []byte) (*x509.Certificate, error) {
	if data == nil {
		return nil, nil
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// signedMark ends a signed module.
const signedMark = "~Module signature appended~\n"

// errUnsigned is for a module without a signature.
var errUnsigned = errors.New("the module is not signed")

// signature is that of a module: what scripts/sign-file of Linux appends, a PKCS#7
// message without attributes, a struct module_signature, and a line of text.
type signature struct {
	algorithm
	// content is the module without its signature.
	content   []byte
	signature []byte
}

// algorithm is one that CONFIG_MODULE_SIG_HASH may choose.
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

// contentInfo, signedData and signerInfo are what modules use of RFC 5652.
type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     asn1.RawValue `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Encapsulated     struct{ ContentType asn1.ObjectIdentifier }
	Certificates     asn1.RawValue `asn1:"optional,tag:0"`
	SignerInfos      []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version            int
	Signer             asn1.RawValue
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

// oidSignedData is the type of the message.
var oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// parseSignature splits a module from its signature.
func parseSignature(module []byte) (signature, error) {
	rest, signed := bytes.CutSuffix(module, []byte(signedMark))
	if !signed {
		return signature{}, errUnsigned
	}
	const trailer, typePKCS7 = 12, 2
	if len(rest) < trailer {
		return signature{}, errors.New("the signature is cut short")
	}
	info := rest[len(rest)-trailer:]
	rest = rest[:len(rest)-trailer]
	length := int64(binary.BigEndian.Uint32(info[8:]))
	if info[2] != typePKCS7 || length > int64(len(rest)) {
		return signature{}, fmt.Errorf("a signature of type %d with %d bytes: want type %d, PKCS#7, inside of the %d bytes there are",
			info[2], length, typePKCS7, len(rest))
	}
	split := int64(len(rest)) - length
	s, err := parseMessage(rest[split:])
	s.content = rest[:split]
	return s, err
}

func parseMessage(der []byte) (signature, error) {
	var info contentInfo
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return signature{}, fmt.Errorf("reading the PKCS#7 message: %w", err)
	}
	if !info.ContentType.Equal(oidSignedData) {
		return signature{}, fmt.Errorf("the PKCS#7 message has type %s: want signed data", info.ContentType)
	}
	var data signedData
	if _, err := asn1.Unmarshal(info.Content.Bytes, &data); err != nil {
		return signature{}, fmt.Errorf("reading the signed data: %w", err)
	}
	if len(data.SignerInfos) != 1 {
		return signature{}, fmt.Errorf("%d signers: want one", len(data.SignerInfos))
	}
	signer := data.SignerInfos[0]
	for _, known := range algorithms {
		if known.oid.Equal(signer.DigestAlgorithm.Algorithm) {
			return signature{algorithm: known, signature: signer.Signature}, nil
		}
	}
	return signature{}, fmt.Errorf("the digest's algorithm %s is not one that Linux signs with today", signer.DigestAlgorithm.Algorithm)
}

// verify checks the signature with the certificate it must be from. The
// kernel ignores its validity in time, and so does this.
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
