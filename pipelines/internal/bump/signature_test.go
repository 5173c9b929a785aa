package bump

import (
	"bytes"
	"errors"
	"io"
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

// Only the signed part of a list of hashes counts. Without a signature or the key of one,
// the file is refused.
func TestSignedList(t *testing.T) {
	w, key := signedTool(t)
	list := signedList(t, key, hash("tool")+"  t-1.1.tar\n")
	w.files["sha256sums.asc"] = zero + "  t-1.1.tar\n" + list
	moved, err := w.Bump(t.Context(), "t", "")
	if err != nil || moved[0].Places[0].Checked != "sha256sums.asc, signed by "+fingerprintOf(key) {
		t.Fatalf("moved %+v, %v", moved, err)
	}
	changed, other := signedTool(t)
	changed.files["sha256sums.asc"] = list
	wantRefusal(t, changed, "t", "", "sha256sums.asc: its signature is not valid")
	delete(changed.files, "keys/"+fingerprintOf(other))
	changed.asked = nil
	wantRefusal(t, changed, "t", "", "neither it nor a list of hashes is signed by "+fingerprintOf(other)+", as the lock demands (looking for the key")
	w, _ = signedTool(t)
	wantRefusal(t, w, "t", "", "/files/t-1.1.tar: neither it nor a list of hashes is signed by ", "as the lock demands (no signature)")
	w.asked, w.files["sha256sums.asc"] = nil, hash("tool")+"  t-1.1.tar\n"
	wantRefusal(t, w, "t", "", "/files/t-1.1.tar: neither it nor a list of hashes is signed by ")
}

// A list without a signature does not hide a signed one.
func TestSignedListAfterAnother(t *testing.T) {
	w, key := signedTool(t)
	w.files["t-1.1.tar.sha256"], w.files["sha256sums.asc"] = hash("tool"), signedList(t, key, hash("tool")+"  t-1.1.tar\n")
	moved, err := w.Bump(t.Context(), "t", "")
	if err != nil || moved[0].Places[0].Checked != "sha256sums.asc, signed by "+fingerprintOf(key) {
		t.Errorf("moved %+v, %v", moved, err)
	}
}

// signedList is a text that a key signed.
func signedList(t *testing.T, key *openpgp.Entity, text string) string {
	t.Helper()
	var list bytes.Buffer
	out, err := clearsign.Encode(&list, key.PrivateKey, nil)
	if err == nil {
		_, err = io.WriteString(out, text)
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}
