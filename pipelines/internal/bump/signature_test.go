package bump

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// signedTool is a world whose only place is signed by a new key, which is declared.
func signedTool(t *testing.T) (w *world, key *openpgp.Entity) {
	t.Helper()
	key, err := openpgp.NewEntity("Release", "", "release@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	out, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(key.Serialize(out), out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, "assets:\n  t: {version: \"1.0\"}\n", "assets.t:\n  signers: ["+fingerprintOf(key)+"]\n  \"1.0\":\n    t:\n      - name: up\n        url: URL/files/t-1.0.tar\n        sha256: "+zero+"\n")
	w.Keyserver = w.url + "/files/keys/"
	w.files["keys/"+fingerprintOf(key)], w.files["t-1.1.tar"] = public.String(), "tool"
	return w, key
}

func TestSignature(t *testing.T) {
	w, key := signedTool(t)
	var signature bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&signature, key, strings.NewReader("tool"), nil); err != nil {
		t.Fatal(err)
	}
	w.files["t-1.1.tar.asc"] = signature.String()
	w.files["t-1.1.tar"] = "changed"
	wantRefusal(t, w, "t", "", "/files/t-1.1.tar: its signature is not valid")
	w.asked, w.files["t-1.1.tar"] = nil, "tool"
	moved, err := w.Bump(t.Context(), "t", "")
	if err != nil || moved[0].Places[0].Checked != "its signature by "+fingerprintOf(key) {
		t.Errorf("moved %+v, %v", moved, err)
	}
	if _, lock := w.read(t); strings.Contains(lock, "unchecked") {
		t.Errorf("lock:\n%s", lock)
	}
}

// Only the signed part of a list of hashes counts. A key that cannot be had is said.
func TestSignedList(t *testing.T) {
	w, key := signedTool(t)
	var list bytes.Buffer
	out, err := clearsign.Encode(&list, key.PrivateKey, nil)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s  t-1.1.tar\n", hash("tool"))
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.files["sha256sums.asc"] = zero + "  t-1.1.tar\n" + list.String()
	moved, err := w.Bump(t.Context(), "t", "")
	if err != nil || moved[0].Places[0].Checked != "sha256sums.asc, signed by "+fingerprintOf(key) {
		t.Fatalf("moved %+v, %v", moved, err)
	}
	changed, other := signedTool(t)
	changed.files["sha256sums.asc"] = list.String()
	wantRefusal(t, changed, "t", "", "sha256sums.asc: its signature is not valid")
	delete(changed.files, "keys/"+fingerprintOf(other))
	changed.asked = nil
	moved, err = changed.Bump(t.Context(), "t", "")
	if err != nil || !strings.HasPrefix(moved[0].Places[0].Checked, "sha256sums.asc (its signature was not checked: looking for the key "+fingerprintOf(other)) {
		t.Errorf("moved %+v, %v", moved, err)
	}
}
