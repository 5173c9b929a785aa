package modsig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/modsig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/modsig/modsigtest"
)

var module = []byte("\x7fELF a module")

func certificate(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	c, _, err := modsigtest.Certificate(key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sign(t *testing.T, key crypto.Signer, c *x509.Certificate, says asn1.ObjectIdentifier) []byte {
	t.Helper()
	signed, err := modsigtest.Sign(module, key, c, says)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestSignatures(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][2]crypto.Signer{"rsa": {rsaKey, ecdsaKey}, "ecdsa": {ecdsaKey, rsaKey}} {
		t.Run(name, func(t *testing.T) {
			own, other := certificate(t, keys[0]), certificate(t, keys[1])
			signed := sign(t, keys[0], own, modsigtest.SHA512)
			s, err := modsig.Parse(signed)
			if err != nil {
				t.Fatal(err)
			}
			if s.Hash != "SHA-512" || !bytes.Equal(s.Content, module) {
				t.Errorf("hash %s, content %q", s.Hash, s.Content)
			}
			if err := s.Verify(own); err != nil {
				t.Error(err)
			}
			if err := s.Verify(other); err == nil || !strings.Contains(err.Error(), "not by the key of certificate 2a") {
				t.Errorf("another certificate: %v", err)
			}
			signed[2] ^= 1
			if s, err = modsig.Parse(signed); err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(own); err == nil {
				t.Error("a changed module has a good signature")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, key, certificate(t, key), modsigtest.SHA512)
	sha1 := asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"mark alone":     {[]byte("~Module signature appended~\n"), "cut short"},
		"other type":     {modsigtest.Append(module, []byte("x"), 1), "want type 2"},
		"too long":       {append(bytes.Clone(good[:20]), good[len(good)-40:]...), "inside of"},
		"no message":     {modsigtest.Append(module, []byte("x"), 2), "PKCS#7"},
		"old digest":     {sign(t, key, certificate(t, key), sha1), "not one that Linux signs with"},
		"unsigned":       {module, "not signed"},
		"nothing at all": {nil, "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := modsig.Parse(test.data)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if _, err := modsig.Parse(module); !errors.Is(err, modsig.ErrUnsigned) {
		t.Errorf("got %v", err)
	}
}
