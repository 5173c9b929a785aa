package trust

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	provenancev1 "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"
)

// key returns a new key: its signer, and its public part as the value of a YAML field.
func key(t testing.TB) (*Signer, string) {
	t.Helper()
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := LoadKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, indented(public)
}

func indented(pem []byte) string {
	return "|\n      " + strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n      ")
}

func load(text string) (*Policy, error) {
	return LoadPolicy(fstest.MapFS{PolicyFile: {Data: []byte(text)}})
}

var (
	about  = "sha256:" + strings.Repeat("ab", 32)
	kernel = Claim{"asset": "kernel", "arch": "x86_64", "key": strings.Repeat("1", 64)}
	wanted = Wanted{Type: ProvenanceType, Role: Cache, Digest: about, Claim: kernel}
)

const (
	recipe = `{"asset":"kernel","builder":{"distribution":"debian"},"dependencies":[{"asset":"busybox","digest":"sha256:` +
		`cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}]}`
	record = `{"base":"bootstrap:sha256:07f8bb2c54774b7ca7a2a0df302b2f16918f9f67685fd36ffa6f601b0e9ba753","builder":"",` +
		`"packages":["gcc=4:14.2.0-1+b1"],"sources":[{"name":"linux","place":"debian","sha256":"fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"}]}`
)

func signed(t testing.TB, s *Signer, claim Claim) []byte {
	t.Helper()
	p, err := Provenance{Claim: claim, Recipe: []byte(recipe), Record: []byte(record)}.Predicate()
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Sign(t.Context(), []Subject{{"qemu", about}}, p.Type, p.Content)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestProvenance reads our provenance with the libraries of in-toto, which validate it.
func TestProvenance(t *testing.T) {
	signer, _ := key(t)
	var b bundle.Bundle
	if err := b.UnmarshalJSON(signed(t, signer, kernel)); err != nil {
		t.Fatal(err)
	}
	payload := b.GetDsseEnvelope().GetPayload()
	var s intoto.Statement
	var p provenancev1.Provenance
	if err := protojson.Unmarshal(payload, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	predicate, err := protojson.Marshal(s.Predicate)
	if err == nil {
		err = protojson.Unmarshal(predicate, &p)
	}
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	var materials []string
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		materials = append(materials, strings.TrimSpace(d.Name+" "+d.Uri+" "+shorten(d.Digest["sha256"])))
	}
	want := "linux from debian  fdf4c4d487c9, base  07f8bb2c5477, busybox  cdcdcdcdcdcd, pkg:deb/debian/gcc@4%3A14.2.0-1%2Bb1"
	if got := strings.Join(materials, ", "); got != want {
		t.Errorf("materials %s\nwant %s", got, want)
	}
	if got := p.BuildDefinition.ExternalParameters.Fields["recipe"].GetStructValue().Fields["asset"].GetStringValue(); got != "kernel" {
		t.Errorf("the recipe is of %q", got)
	}
}

// TestRotation has two keys, of which the old one ends. The clock of the machine may be
// wrong by a year: what is signed after the end is refused by any clock.
func TestRotation(t *testing.T) {
	before, oldKey := key(t)
	after, newKey := key(t)
	today := time.Now().UTC()
	policy := func(until time.Time) *Policy {
		t.Helper()
		p, err := load(fmt.Sprintf("signers:\n  - name: old\n    signs: [cache]\n    until: %q\n    key: %s\n  - name: new\n    signs: [cache]\n    key: %s\n",
			until.Format(time.DateOnly), oldKey, newKey))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, test := range map[string]struct {
		signer *Signer
		until  time.Time
		now    time.Time
		why    string
	}{
		"old, today is the last day":        {before, today, today, ""},
		"old, ended":                        {before, today.AddDate(0, 0, -1), today, "is signed with the key of old, which ended on"},
		"old, the clock is a year behind":   {before, today.AddDate(0, 0, 1), today.AddDate(-1, 0, 0), ""},
		"ended, the clock is a year behind": {before, today.AddDate(0, 0, -1), today.AddDate(-1, 0, 0), "is signed with the key of old, which ended on"},
		"old, the clock is a year ahead":    {before, today.AddDate(0, 0, 1), today.AddDate(1, 0, 0), "this machine's date is " + today.AddDate(1, 0, 0).Format(time.DateOnly)},
		"new, the clock is a year behind":   {after, today, today.AddDate(-1, 0, 0), ""},
		"new, the clock is a year ahead":    {after, today, today.AddDate(1, 0, 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy(test.until).Check(signed(t, test.signer, kernel), wanted, test.now)
			if test.why == "" && (err != nil || got.Signer != strings.Fields(strings.ReplaceAll(name, ",", ""))[0]) {
				t.Errorf("signed by %q, %v", got.Signer, err)
			}
			if test.why != "" && (!IsRefusal(err) || !strings.Contains(err.Error(), test.why)) {
				t.Errorf("%v, want %q", err, test.why)
			}
		})
	}
}

// TestForged changes a bundle of a trusted key.
func TestForged(t *testing.T) {
	signer, public := key(t)
	p, err := load("signers:\n  - name: ci\n    signs: [cache]\n    key: " + public + "\n")
	if err != nil {
		t.Fatal(err)
	}
	whole := signed(t, signer, kernel)
	if _, err := p.Check(whole, wanted, time.Now()); err != nil {
		t.Fatal(err)
	}
	// in changes the statement, and keeps the signature.
	in := func(old, new string) func([]byte) []byte {
		return func(data []byte) []byte {
			var b bundle.Bundle
			if err := b.UnmarshalJSON(data); err != nil {
				t.Fatal(err)
			}
			e := b.GetDsseEnvelope()
			if e.Payload = bytes.ReplaceAll(e.Payload, []byte(old), []byte(new)); !bytes.Contains(e.Payload, []byte(new)) {
				t.Fatalf("the statement has no %s", old)
			}
			changed, err := b.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			return changed
		}
	}
	unsigned := func(data []byte) []byte {
		var b bundle.Bundle
		if err := b.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		b.GetDsseEnvelope().Signatures = nil
		changed, _ := b.MarshalJSON()
		return changed
	}
	for name, test := range map[string]struct {
		change func([]byte) []byte
		why    string
	}{
		"empty":         {func([]byte) []byte { return nil }, "is not a Sigstore bundle"},
		"text":          {func([]byte) []byte { return []byte("{}") }, "is not a Sigstore bundle"},
		"arch":          {in(`"x86_64"`, `"s390x"`), "is not valid for it"},
		"type":          {in(ProvenanceType, "https://slsa.dev/provenance/v9"), "is not valid for it"},
		"no signature":  {unsigned, "is not valid for it"},
		"half a bundle": {func(data []byte) []byte { return data[:len(data)/2] }, "is not a Sigstore bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.Check(test.change(bytes.Clone(whole)), wanted, time.Now()); !IsRefusal(err) || !strings.Contains(err.Error(), test.why) {
				t.Errorf("%v, want %q", err, test.why)
			}
		})
	}
	verdict := wanted
	verdict.Type = VerdictType
	if _, err := p.Check(whole, verdict, time.Now()); !IsRefusal(err) || !strings.Contains(err.Error(), "for a statement of type "+ProvenanceType) {
		t.Errorf("provenance as a verdict: %v", err)
	}
}

// TestVerdict signs a proof, and gets it back.
func TestVerdict(t *testing.T) {
	proof := []byte(`{"checks": [{"name": "boot", "verdict": "passed"}, {"name": "btf", "verdict": "failed"}, {"name": "kvm", "verdict": "skipped"}]}`)
	v, err := Verdict(proof)
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := key(t)
	data, err := signer.Sign(t.Context(), []Subject{{"qemu", about}}, v.Type, v.Content)
	if err != nil {
		t.Fatal(err)
	}
	got, err := signer.own.Check(data, Wanted{Type: VerdictType, Role: Cache, Digest: about, Claim: v.Claim}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, proof); err != nil || string(got.Proof) != compact.String() {
		t.Errorf("proof %s, %v", got.Proof, err)
	}
	if want := `"result":"FAILED","configuration":[],"passedTests":["boot"],"failedTests":["btf"]`; !strings.Contains(string(v.Content), want) {
		t.Errorf("verdict %s, want %s", v.Content, want)
	}
}

// TestBadPolicies makes sure that the errors name the line and what to do.
func TestBadPolicies(t *testing.T) {
	_, public := key(t)
	private, _, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ text, want string }{
		"empty":         {"", "assets/trust.yaml: the file is empty"},
		"no signers":    {"signers: []", "assets/trust.yaml:1: the policy has no signers"},
		"unknown field": {"signers:\n  - nam: x", `assets/trust.yaml:2: unknown field "nam"; did you mean "name"?`},
		"no name":       {"signers:\n  - signs: [cache]\n    key: " + public, "assets/trust.yaml:2: a signer has no name"},
		"two of a name": {"signers:\n  - {name: a, signs: [cache], identity: x, issuer: y}\n  - {name: a, signs: [cache], identity: x, issuer: y}", `assets/trust.yaml:3: duplicate signer "a"`},
		"nothing":       {"signers:\n  - name: a\n    key: " + public, `assets/trust.yaml:2: signer "a" may sign nothing`},
		"unknown role":  {"signers:\n  - name: a\n    signs: [cash]\n    key: " + public, `unknown role "cash": choose one of cache, release`},
		"neither":       {"signers:\n  - name: a\n    signs: [cache]", `assets/trust.yaml:2: signer "a": want either a key or an identity`},
		"no issuer":     {"signers:\n  - name: a\n    signs: [cache]\n    identity: x", `signer "a": an identity needs the issuer`},
		"no root":       {"signers:\n  - name: a\n    signs: [cache]\n    identity: x\n    issuer: y", "an identity needs sigstore.root"},
		"lost root":     {"sigstore: {root: r.json}\nsigners:\n  - name: a\n    signs: [cache]\n    identity: x\n    issuer: y", "assets/trust.yaml:1: reading the trusted root r.json: file does not exist"},
		"ends":          {"signers:\n  - name: a\n    signs: [cache]\n    identity: x\n    issuer: y\n    until: 2027-01-01", "only a key ends"},
		"bad date":      {"signers:\n  - name: a\n    signs: [cache]\n    until: soon\n    key: " + public, `assets/trust.yaml:4: signer "a": want the last day as YYYY-MM-DD, and found "soon"`},
		"bad key":       {"signers:\n  - name: a\n    signs: [cache]\n    key: abc", `assets/trust.yaml:4: signer "a": want a public key in PEM`},
		"private key":   {"signers:\n  - name: a\n    signs: [cache]\n    key: " + indented(private), `assets/trust.yaml:4: signer "a": this is a private key`},
		"issuer of key": {"signers:\n  - name: a\n    signs: [cache]\n    issuer: y\n    key: " + public, "a key has no issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	if p, err := LoadPolicy(fstest.MapFS{}); p != nil || err != nil {
		t.Errorf("without a policy: %v, %v", p, err)
	}
}

// TestKeys signs with the kinds of keys that cosign and openssl write.
func TestKeys(t *testing.T) {
	pass := cryptoutils.StaticPasswordFunc([]byte("secret"))
	encrypted, _, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P384(), pass)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := cryptoutils.MarshalPrivateKeyToPEM(large)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		pem        []byte
		passphrase string
		fails      bool
	}{
		"encrypted": {encrypted, "secret", false}, "wrong passphrase": {encrypted, "other", true},
		"rsa": {plain, "", false}, "no key": {[]byte("x"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := LoadKey(test.pem, test.passphrase)
			if (err != nil) != test.fails {
				t.Fatal(err)
			}
			if test.fails {
				return
			}
			if _, err := s.own.Check(signed(t, s, kernel), wanted, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}
