package payload

import (
	"crypto/elliptic"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// TestSigned pushes images and their index with a key. An index has only images whose
// signatures the policy accepts, and nothing is signed twice.
func TestSigned(t *testing.T) {
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := trust.LoadPolicy(fstest.MapFS{trust.PolicyFile: {Data: fmt.Appendf(nil, "signers:\n  - name: releaser\n    signs: [release]\n    key: |\n      %s\n",
		strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n      "))}})
	if err != nil {
		t.Fatal(err)
	}
	host := registrytest.New(t)
	r, faults, _ := repository(t, host+"/kata/kata-deploy")
	r.options.Policy = policy
	image := make1(t, options(t))
	index := IndexOptions{Images: []IndexImage{{GoArch: "amd64", Reference: push1(t, r, image, Tag{Name: "a"}).Reference}}}
	want := "reading the image of amd64: " + index.Images[0].Reference + ": the image is unsigned; assets/trust.yaml wants a signature by releaser"
	if _, err := r.PushIndex(t.Context(), index); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("an index of an unsigned image: %v\nwant %s", err, want)
	}
	if r.options.Signer, err = trust.LoadKey(private, ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		push1(t, r, image, Tag{Name: "a"})
		pushed, err := r.PushIndex(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		for _, digest := range []string{image.Digest(), pushed.Digest} {
			wanted := trust.Wanted{Type: trust.ProvenanceType, Role: trust.Release, Digest: digest, Claim: trust.Claim{"image": "kata/kata-deploy"}}
			if _, signed, err := policy.Accepted(t.Context(), r.Repository, wanted); err != nil || signed.Signer != "releaser" {
				t.Errorf("signed by %q, %v", signed.Signer, err)
			}
		}
	}
	if lists := strings.Count(strings.Join(faults.Requests(), "\n"), "PUT /v2/kata/kata-deploy/manifests/sha256-"); lists != 2 {
		t.Errorf("put %d lists of signatures, want one for the image and one for the index", lists)
	}
}
