package modsig

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

	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig/modsigtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

var moduleData = []byte("\x7fELF a module")

func certificateOf(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	c, _, err := modsigtest.Certificate(key)
	require.NoError(t, err)
	return c
}

func sign(t *testing.T, key crypto.Signer, c *x509.Certificate, says asn1.ObjectIdentifier) []byte {
	t.Helper()
	signed, err := modsigtest.Sign(moduleData, key, c, says)
	require.NoError(t, err)
	return signed
}

func TestSignatures(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, keys := range map[string][2]crypto.Signer{"rsa": {rsaKey, ecdsaKey}, "ecdsa": {ecdsaKey, rsaKey}} {
		t.Run(name, func(t *testing.T) {
			own, other := certificateOf(t, keys[0]), certificateOf(t, keys[1])
			signed := sign(t, keys[0], own, modsigtest.SHA512)
			s, err := Parse(signed)
			require.NoError(t, err)
			if s.Hash.String() != "SHA-512" || !bytes.Equal(s.content, moduleData) {
				t.Errorf("hash %s, content %q", s.Hash, s.content)
			}
			if err := s.Verify(own); err != nil {
				t.Error(err)
			}
			if err := s.Verify(other); err == nil || !strings.Contains(err.Error(), "not by the key of certificate 2a") {
				t.Errorf("another certificate: %v", err)
			}
			signed[2] ^= 1
			if s, err = Parse(signed); err != nil {
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
	require.NoError(t, err)
	good := sign(t, key, certificateOf(t, key), modsigtest.SHA512)
	sha1 := asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"only mark":      {[]byte("~Module signature appended~\n"), "cut short"},
		"other type":     {modsigtest.Append(moduleData, []byte("x"), 1), "want type 2"},
		"too long":       {append(bytes.Clone(good[:20]), good[len(good)-40:]...), "inside of"},
		"no message":     {modsigtest.Append(moduleData, []byte("x"), 2), "PKCS#7"},
		"deep":           {modsigtest.Append(moduleData, bytes.Repeat([]byte{0x30, 0x80}, 10<<20), 2), "PKCS#7"},
		"old digest":     {sign(t, key, certificateOf(t, key), sha1), "not one that Linux signs with"},
		"unsigned":       {moduleData, "not signed"},
		"nothing at all": {nil, "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.data)
			require.Error(t, err, test.want)
		})
	}
	if _, err := Parse(moduleData); !errors.Is(err, ErrUnsigned) {
		t.Errorf("got %v", err)
	}
}

// FuzzParse guards against a module that makes a parser panic.
func FuzzParse(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	certificate, _, err := modsigtest.Certificate(key)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := modsigtest.Sign(moduleData, key, certificate, modsigtest.SHA512)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed[len(moduleData) : len(signed)-40])
	f.Add([]byte("\x30\x80\x00\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		s, err := Parse(modsigtest.Append(moduleData, message, 2))
		if err == nil && !bytes.Equal(s.content, moduleData) {
			t.Errorf("the module is %q", s.content)
		}
	})
}
