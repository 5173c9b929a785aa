package release

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

const outsideTarball = "kata-static-1.0.0-amd64.tar.zst"

// newSigner returns a signer, and its public key in PEM.
func newSigner(t *testing.T) (*trust.Signer, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := trust.LoadKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// policyOf returns the policy that lets a key sign for a role.
func policyOf(t *testing.T, key string, role trust.Role) *trust.Policy {
	t.Helper()
	text := fmt.Sprintf("signers:\n  - name: releaser\n    signs: [%s]\n    key: |\n      %s\n", role, strings.ReplaceAll(strings.TrimSpace(key), "\n", "\n      "))
	policy, err := trust.LoadPolicy(fstest.MapFS{trust.PolicyFile: {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// outside writes a release with one tarball, changed before it is summed and signed.
func outside(t *testing.T, signer *trust.Signer, version string, change func(files map[string]string)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	sum := func(text string) string { return digest.FromString(text).Encoded() }
	proof, err := report.Proof{
		Version: report.ProofVersion, Subject: report.Subject{Asset: "a", Arch: "x86_64", Tarball: "sha256:" + sum("asset")},
		Checks: []report.Check{{Name: "whole", Verdict: report.Passed}},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		outsideTarball: "tarball",
		contentsFile(outsideTarball): fmt.Sprintf(`{"packages": [
			{"name": "kata-static", "SPDXID": "SPDXRef-merged", "packageFileName": %q, "checksums": [{"algorithm": "SHA256", "checksumValue": %q}]},
			{"name": "a", "SPDXID": "SPDXRef-a", "checksums": [{"algorithm": "SHA256", "checksumValue": %q}]}],
			"relationships": [{"spdxElementId": "SPDXRef-merged", "relatedSpdxElement": "SPDXRef-a", "relationshipType": "CONTAINS"}]}`,
			outsideTarball, sum("tarball"), sum("asset")),
		proofsFile("1.0.0"): string(proof) + "\n",
	}
	if change != nil {
		change(files)
	}
	var list []File
	var subjects []trust.Subject
	for name, content := range files {
		write(t, dir, name, content)
		f := File{}
		f.Name, f.Digest = name, digest.FromString(content).String()
		list, subjects = append(list, f), append(subjects, trust.Subject{Name: name, Digest: f.Digest})
	}
	sums := string(Sums(list))
	write(t, dir, SumsName, sums)
	predicate, err := trust.Provenance{Claim: trust.Claim{"release": version}, Role: trust.Release}.Predicate()
	if err != nil {
		t.Fatal(err)
	}
	subjects = append(subjects, trust.Subject{Name: SumsName, Digest: digest.FromString(sums).String()})
	bundle, err := signer.Sign(t.Context(), subjects, predicate.Type, predicate.Content)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, BundleName, string(bundle))
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	signer, key := newSigner(t)
	r := Verify(t.Context(), outside(t, signer, "1.0.0", nil), "1.0.0", policyOf(t, key, trust.Release))
	if err := r.Err(); err != nil || r.Passed != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	if r := Verify(t.Context(), outside(t, signer, "1.0.0", nil), "1.0.0", nil); r.Err() != nil || r.Passed != 4 || r.Skipped != 1 {
		t.Errorf("without a policy: %+v", r)
	}
}

// TestVerifyRefuses: what is wrong with a release, and the one check that says so first.
func TestVerifyRefuses(t *testing.T) {
	signer, key := newSigner(t)
	stranger, _ := newSigner(t)
	policy := policyOf(t, key, trust.Release)
	remove := func(name string) func(string) {
		return func(dir string) { _ = os.Remove(filepath.Join(dir, name)) }
	}
	for name, test := range map[string]struct {
		signer  *trust.Signer
		version string
		policy  *trust.Policy
		before  func(map[string]string)
		after   func(dir string)
		check   string
		want    string
	}{
		"a file is missing":    {after: remove(outsideTarball), check: "digests", want: outsideTarball + " is missing, but SHA256SUMS has it"},
		"one byte is changed":  {after: func(dir string) { write(t, dir, outsideTarball, "tarbalL") }, check: "digests", want: outsideTarball + " has the sha256 "},
		"the sums are missing": {after: remove(SumsName), check: "digests", want: "SHA256SUMS is missing"},
		"a path in the sums": {
			after: func(dir string) { write(t, dir, SumsName, strings.Repeat("0", 64)+"  ../other\n") },
			check: "digests", want: `SHA256SUMS has the line`,
		},
		"file and sum are changed": {
			after: func(dir string) {
				write(t, dir, outsideTarball, "other")
				write(t, dir, SumsName, digest.FromString("other").Encoded()+"  "+outsideTarball+"\n")
			},
			check: "provenance", want: "SHA256SUMS has a signature of releaser that is not valid for it",
		},
		"unsigned":             {after: remove(BundleName), check: "provenance", want: "the release is unsigned: SHA256SUMS.sigstore.json is missing"},
		"signed by a stranger": {signer: stranger, check: "provenance", want: "which is not in the policy"},
		"a key of the cache":   {policy: policyOf(t, key, trust.Cache), check: "provenance", want: "is signed by releaser, who may not sign for the role release"},
		"an older release":     {version: "0.9.0", check: "provenance", want: "has a signature of releaser for release 0.9.0"},
		"no document":          {before: func(f map[string]string) { delete(f, contentsFile(outsideTarball)) }, check: "contents", want: contentsFile(outsideTarball) + " is missing"},
		"document of another":  {before: func(f map[string]string) { f[outsideTarball] = "another" }, check: "contents", want: contentsFile(outsideTarball) + " is about a tarball with the sha256 "},
		"no proofs":            {before: func(f map[string]string) { delete(f, proofsFile("1.0.0")) }, check: "proofs", want: proofsFile("1.0.0") + " is missing"},
		"proof of another":     {before: func(f map[string]string) { f[proofsFile("1.0.0")] = "" }, check: "proofs", want: outsideTarball + " has SPDXRef-a (sha256 "},
		"a proof that failed": {before: func(f map[string]string) {
			f[proofsFile("1.0.0")] = strings.Replace(f[proofsFile("1.0.0")], "passed", "failed", 1)
		}, check: "proofs", want: "without a proof that passed"},
		"a file without a sum": {after: func(dir string) { write(t, dir, SumsName, "") }, check: "digests", want: "SHA256SUMS has no tarball"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.signer == nil {
				test.signer = signer
			}
			if test.policy == nil {
				test.policy = policy
			}
			if test.version == "" {
				test.version = "1.0.0"
			}
			dir := outside(t, test.signer, test.version, test.before)
			if test.after != nil {
				test.after(dir)
			}
			r := Verify(t.Context(), dir, "1.0.0", test.policy)
			for _, check := range r.Checks {
				if check.Name == test.check && check.Verdict == report.Failed && strings.Contains(check.Saw, test.want) {
					return
				}
			}
			t.Errorf("no check %s that failed with %q: %+v", test.check, test.want, r.Checks)
		})
	}
}
