package modsig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"os/exec"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/modsig/modsigtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// The module in testdata was signed with the pair in assets/kernel/signing, by
//
//	openssl cms -sign -binary -noattr -nocerts -md sha512 -outform DER ...
//
// and the trailer that scripts/sign-file of Linux appends.
func TestPublicKeySigned(t *testing.T) {
	module, err := os.ReadFile("testdata/development.ko")
	require.NoError(t, err)
	s, err := Parse(module)
	require.NoError(t, err)
	if !ByPublicKey(s) {
		t.Error("a module that was signed with the key in this repository counts as safe")
	}
	module[8] ^= 1
	if s, err = Parse(module); err != nil || ByPublicKey(s) {
		t.Errorf("a changed module: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other := sign(t, key, certificateOf(t, key), modsigtest.SHA512)
	if s, err = Parse(other); err != nil || ByPublicKey(s) {
		t.Errorf("a module that was signed with another key: %v", err)
	}
}

// TestPairInTree guards against a pair in the tree that the documented passphrase opens
// and that no check knows.
func TestPairInTree(t *testing.T) {
	const folder = "../../../assets/kernel/signing/"
	opened := exec.CommandContext(t.Context(), "openssl", "pkey", "-in", folder+"modules.key", "-passin", "pass:development", "-noout").Run()
	data, err := os.ReadFile(folder + "modules.crt")
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	sum := sha256.Sum256(block.Bytes)
	known := IsPublic("sha256:" + hex.EncodeToString(sum[:]))
	if (opened == nil) != known {
		t.Errorf("opening the key with the documented passphrase: %v; it counts as public: %v", opened, known)
	}
	if IsPublic("sha256:"+hex.EncodeToString(make([]byte, 32))) || len(public()) == 0 {
		t.Error("any key counts as public, or none")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Error(err)
	}
}
