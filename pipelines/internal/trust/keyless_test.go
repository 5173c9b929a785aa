package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// standIn serves in place of GitHub's issuer of tokens and Sigstore's services, none of which
// a test reaches. It is the virtual Sigstore of sigstore-go behind HTTP: its log, and a
// certificate authority and a time stamper made with its functions.
type standIn struct {
	root.BaseTrustedMaterial
	t                     *testing.T
	log                   *ca.VirtualSigstore
	authority             *root.FulcioCertificateAuthority
	authorityKey, timeKey *ecdsa.PrivateKey
	times                 *root.SigstoreTimestampingAuthority
	// identity is that of the next certificate; certificates counts them.
	identity     string
	certificates int
}

const issuer = "https://token.actions.githubusercontent.com"

func (s *standIn) FulcioCertificateAuthorities() []root.CertificateAuthority {
	return []root.CertificateAuthority{s.authority}
}

func (s *standIn) TimestampingAuthorities() []root.TimestampingAuthority {
	return []root.TimestampingAuthority{s.times}
}

func (s *standIn) RekorLogs() map[string]*root.TransparencyLog { return s.log.RekorLogs() }

// must stops the server's request: the client's error then fails the test.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newStandIn(t *testing.T) (s *standIn, address string) {
	t.Helper()
	rootCert, rootKey, err := ca.GenerateRootCa()
	if err != nil {
		t.Fatal(err)
	}
	s = &standIn{t: t, log: must(ca.NewVirtualSigstore()), identity: "release@example.org"}
	period := func(d time.Duration) time.Time { return time.Now().Add(d) }
	issuing, issuingKey, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	s.authorityKey = issuingKey
	s.authority = &root.FulcioCertificateAuthority{
		Root: rootCert, Intermediates: []*x509.Certificate{issuing}, ValidityPeriodStart: period(-time.Hour), ValidityPeriodEnd: period(time.Hour),
	}
	timing, timingKey, err := ca.GenerateTSAIntermediate(rootCert, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	s.timeKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	s.times = &root.SigstoreTimestampingAuthority{
		Root: rootCert, Intermediates: []*x509.Certificate{timing}, Leaf: must(ca.GenerateTSALeafCert(period(-time.Minute), s.timeKey, timing, timingKey)),
		ValidityPeriodStart: period(-time.Hour), ValidityPeriodEnd: period(time.Hour),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /token", s.token)
	mux.HandleFunc("POST /api/v2/signingCert", s.certify)
	mux.HandleFunc("POST /api/v1/log/entries", s.enter)
	mux.HandleFunc("POST /time", s.stamp)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, server.URL
}

// token is the answer of GitHub.
func (s *standIn) token(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer request-token" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("job") != "1" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	claims := must(json.Marshal(map[string]any{"sub": "repo:x", "email": s.identity, "email_verified": true, "iss": issuer}))
	_, _ = fmt.Fprintf(w, `{"count":1,"value":"e30.%s.c2ln"}`, base64.RawURLEncoding.EncodeToString(claims))
}

// holder is a key of which the public part is known.
type holder struct {
	crypto.Signer
	public crypto.PublicKey
}

func (h holder) Public() crypto.PublicKey { return h.public }

// certify is the answer of Fulcio.
func (s *standIn) certify(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer e30.") {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	s.certificates++
	var request struct {
		PublicKeyRequest struct{ PublicKey struct{ Content string } }
	}
	must(0, json.NewDecoder(r.Body).Decode(&request))
	public := must(cryptoutils.UnmarshalPEMToPublicKey([]byte(request.PublicKeyRequest.PublicKey.Content)))
	certificate := must(ca.GenerateLeafCert(s.identity, issuer, time.Now().Add(-time.Second), holder{public: public}, s.authority.Intermediates[0], s.authorityKey))
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	must(0, json.NewEncoder(w).Encode(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": []string{string(text)}}}}))
}

// enter is the answer of Rekor.
func (s *standIn) enter(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Spec struct {
			ProposedContent struct {
				Envelope  string
				Verifiers [][]byte
			}
		}
	}
	must(0, json.NewDecoder(r.Body).Decode(&request))
	var envelope dsse.Envelope
	must(0, json.Unmarshal([]byte(request.Spec.ProposedContent.Envelope), &envelope))
	certificates := must(cryptoutils.UnmarshalCertificatesFromPEM(request.Spec.ProposedContent.Verifiers[0]))
	signature := must(base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig))
	entry := must(s.log.GenerateTlogEntry(certificates[0], &envelope, signature, time.Now().Unix(), true)).TransparencyLogEntry()
	proof, body := entry.InclusionProof, base64.StdEncoding.EncodeToString(entry.CanonicalizedBody)
	promise := must(s.log.RekorSignPayload(tlog.RekorPayload{
		Body: body, IntegratedTime: entry.IntegratedTime, LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogId.KeyId),
	}))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", "uuid")
	w.WriteHeader(http.StatusCreated)
	must(0, json.NewEncoder(w).Encode(map[string]any{"uuid": map[string]any{
		"body": body, "integratedTime": entry.IntegratedTime,
		"logID": hex.EncodeToString(entry.LogId.KeyId), "logIndex": entry.LogIndex,
		"verification": map[string]any{
			"signedEntryTimestamp": promise,
			"inclusionProof": map[string]any{
				"checkpoint": proof.Checkpoint.Envelope, "hashes": []string{}, "logIndex": proof.LogIndex,
				"rootHash": hex.EncodeToString(proof.RootHash), "treeSize": proof.TreeSize,
			},
		},
	}}))
}

// stamp is the answer of the time stamper.
func (s *standIn) stamp(w http.ResponseWriter, r *http.Request) {
	request := must(timestamp.ParseRequest(must(io.ReadAll(r.Body))))
	stamp := timestamp.Timestamp{
		HashAlgorithm: request.HashAlgorithm, HashedMessage: request.HashedMessage, Time: time.Now(),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
	}
	_, _ = w.Write(must(stamp.CreateResponseWithOpts(s.times.Leaf, s.timeKey, crypto.SHA256)))
}

// TestKeyless signs with the identity of a job, against stand-ins of the services.
func TestKeyless(t *testing.T) {
	s, address := newStandIn(t)
	policy := func(identity, issuer string) *Policy {
		return &Policy{
			file: PolicyFile, material: s, Sigstore: Sigstore{Fulcio: address, Rekor: address, Timestamps: address + "/time"},
			Signers: []PolicySigner{{Name: "release job", Signs: []Role{Cache}, Identity: identity, Issuer: issuer}},
		}
	}
	own := policy(s.identity, issuer)
	signer, err := Keyless(Job{address + "/token?job=1", "request-token"}, own)
	if err != nil {
		t.Fatal(err)
	}
	data := signed(t, signer, kernel)
	signed(t, signer, kernel)
	if s.certificates != 1 {
		t.Errorf("asked for %d certificates, want one", s.certificates)
	}
	// The clock of the machine does not matter: the time is that of the log.
	for _, years := range []int{-1, 0, 1} {
		if got, err := own.Check(data, wanted, time.Now().AddDate(years, 0, 0)); err != nil || got.Signer != "release job" {
			t.Errorf("with a clock %d years off: %q, %v", years, got.Signer, err)
		}
	}
	for name, test := range map[string]struct {
		policy *Policy
		why    string
	}{
		"other identity": {policy("other@example.org", issuer), "is signed by the identity release@example.org, which is not in the policy"},
		"other issuer":   {policy(s.identity, "https://example.org"), "which is not in the policy"},
	} {
		if _, err := test.policy.Check(data, wanted, time.Now()); !IsRefusal(err) || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v, want %q", name, err, test.why)
		}
	}
	// The certificates and the log of others are not trusted.
	other, _ := newStandIn(t)
	foreign := policy(s.identity, issuer)
	foreign.material = other
	if _, err := foreign.Check(data, wanted, time.Now()); !IsRefusal(err) || !strings.Contains(err.Error(), "has a signature of release job that is not valid for it") {
		t.Errorf("with other roots: %v", err)
	}
}

// TestNoIdentity has jobs that get no token, and no policy.
func TestNoIdentity(t *testing.T) {
	s, address := newStandIn(t)
	policy := &Policy{material: s, Sigstore: Sigstore{Fulcio: address, Rekor: address, Timestamps: address + "/time"}}
	for name, test := range map[string]struct {
		job    Job
		policy *Policy
		why    string
	}{
		"no job":    {Job{}, policy, "works only in a job of GitHub Actions with the permission id-token: write"},
		"no policy": {Job{"x", "y"}, nil, "needs the identity and sigstore.root in assets/trust.yaml"},
	} {
		if _, err := Keyless(test.job, test.policy); err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v, want %q", name, err, test.why)
		}
	}
	signer, err := Keyless(Job{address + "/token?job=1", "secret-of-another"}, policy)
	if err != nil {
		t.Fatal(err)
	}
	_, err = signer.Sign(t.Context(), []Subject{{"qemu", about}}, ProvenanceType, []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), "getting a token for the identity of the job: 127.0.0.1") || strings.Contains(err.Error(), "secret") {
		t.Errorf("with a wrong token: %v", err)
	}
}
