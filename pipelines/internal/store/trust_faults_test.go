package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// TestReplayed attaches true signatures to what they are not for.
func TestReplayed(t *testing.T) {
	signer, entry := signing(t, "ci")
	for name, test := range map[string]struct {
		claim func(of Ref) trust.Claim
		of    func(there, other oci.Manifest) oci.Manifest
		why   string
	}{
		"other digest": {Ref.claim, func(_, other oci.Manifest) oci.Manifest { return other }, "has a signature of ci that is not valid for it"},
		"other key": {func(of Ref) trust.Claim {
			of.Key = strings.Repeat("a", 64)
			return of.claim()
		}, nil, "has a signature of ci for arch x86_64, asset qemu, key aaaaaaaaaaaa"},
		"other arch": {func(of Ref) trust.Claim {
			of.Arch = "s390x"
			return of.claim()
		}, nil, "has a signature of ci for arch s390x"},
		"a builder's": {func(Ref) trust.Claim { return builderRef{builderID, "x86_64"}.claim() }, nil, "has a signature of ci for arch x86_64, builder bbbb"},
	} {
		t.Run(name, func(t *testing.T) {
			host, p := registrytest.New(t), sample(t, "qemu", "x86_64", 1)
			_, artifact := mustPublish(t, host, p, nil)
			_, other := mustPublish(t, host, sample(t, "qemu", "x86_64", 2), nil)
			signed := artifact.Manifest
			if test.of != nil {
				signed = test.of(artifact.Manifest, other.Manifest)
			}
			predicate, err := trust.Provenance{Claim: test.claim(p.Ref)}.Predicate()
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := signer.Sign(t.Context(), []trust.Subject{{Name: "qemu", Digest: signed.Digest().String()}}, predicate.Type, predicate.Content)
			if err != nil {
				t.Fatal(err)
			}
			attachBundle(t, host, artifact.Manifest, bundle)
			d, _, n := desk(t, host, policyOf(t, entry))
			wantRefused(t, d, n, p.Ref, test.why)
		})
	}
}

func attachBundle(t *testing.T, host string, of oci.Manifest, bundle []byte) {
	t.Helper()
	r, _, _ := connect(t, host)
	repository, err := r.repository(movingRef{asset: "qemu"})
	if err != nil {
		t.Fatal(err)
	}
	m, blobs, err := trust.NewReferrer(of, trust.ProvenanceType, bundle)
	if err == nil {
		err = repository.Attach(t.Context(), m, blobs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplaced has a signed artifact whose tag an attacker points at another one. The next
// push from a machine that requires signatures puts the right one back.
func TestReplaced(t *testing.T) {
	signer, entry := signing(t, "ci")
	policy, host, p := policyOf(t, entry), registrytest.New(t), sample(t, "qemu", "x86_64", 1)
	mustPublish(t, host, p, signer)
	evil := p
	evil.Tarball = sample(t, "qemu", "x86_64", 3).Tarball
	s, _ := open(t)
	bad := put(t, s, evil)
	r, _, _ := connect(t, host)
	if err := r.send(t.Context(), p.Ref, bad.Manifest, s.blobs("qemu", bad.Manifest)); err != nil {
		t.Fatal(err)
	}
	d, _, n := desk(t, host, policy)
	wantRefused(t, d, n, p.Ref, "is unsigned")

	d, _, n = desk(t, host, policy)
	d.Registry.Signer = signer
	good := put(t, d.Local, p)
	if err := d.Publish(t.Context(), good, nil); err != nil {
		t.Fatal(err)
	}
	n.want(t, "replacing the build "+bad.Manifest.Digest().String())
	d, _, n = desk(t, host, policy)
	wantPulled(t, d, n, p.Ref)
}

// TestEnteredUnchecked has an artifact that entered a cache while nothing was checked. Once
// a policy requires signatures it is a miss, and no key of this machine signs it.
func TestEnteredUnchecked(t *testing.T) {
	signer, entry := signing(t, "ci")
	host, p := registrytest.New(t), sample(t, "qemu", "x86_64", 1)
	mustPublish(t, host, p, nil)
	d, _, n := desk(t, host, nil)
	wantPulled(t, d, n, p.Ref)
	d.Registry.Signer = signer
	artifact, err := d.Local.Get(t.Context(), p.Ref)
	if err == nil {
		err = d.Publish(t.Context(), artifact, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.want(t, "not signing the artifact")
	d.Guard.Policy = policyOf(t, entry)
	wantMiss(t, d.Local, p.Ref)
	d.Guard.Mode = trust.Warn
	if _, err := d.Local.Get(t.Context(), p.Ref); err != nil {
		t.Errorf("with a warning: %v", err)
	}
	n.want(t, "not signing the artifact", "ignoring the stored artifact", "using the stored artifact")
	// What this machine builds needs no signature.
	d.Guard.Mode = trust.Require
	put(t, d.Local, p)
	if _, err := d.Local.Get(t.Context(), p.Ref); err != nil {
		t.Errorf("built here: %v", err)
	}
}

// TestPushKilledBeforeTheSignature leaves an unsigned entry, which is refused; the next
// push heals it.
func TestPushKilledBeforeTheSignature(t *testing.T) {
	signer, entry := signing(t, "ci")
	for name, rule := range map[string]registrytest.Rule{
		"blob":     {Method: "PUT", Path: "/blobs/uploads/", Nth: 4, Do: registrytest.Status(403)},
		"manifest": {Method: "PUT", Path: "/manifests/sha256:", Do: registrytest.Status(403)},
		"list":     {Method: "PUT", Path: "/manifests/sha256-", Do: registrytest.Status(403)},
	} {
		t.Run(name, func(t *testing.T) {
			host, p := registrytest.New(t), sample(t, "qemu", "x86_64", 1)
			s, _, err := publish(t, host, p, signer, rule)
			if err == nil {
				t.Fatal("the push succeeded")
			}
			d, _, n := desk(t, host, policyOf(t, entry))
			wantRefused(t, d, n, p.Ref, "is unsigned")
			r, faults, _ := connect(t, host)
			r.Signer = signer
			for range 2 {
				if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
					t.Fatal(err)
				}
			}
			if lists := slices.DeleteFunc(sent(faults), func(request string) bool { return !strings.Contains(request, "/manifests/sha256-") }); len(lists) != 1 {
				t.Errorf("listed %q, want one signature", lists)
			}
			d, _, n = desk(t, host, policyOf(t, entry))
			wantPulled(t, d, n, p.Ref)
		})
	}
}

// edited changes the index that a registry answers with.
func edited(edit func(*ocispec.Index)) registrytest.Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := base.RoundTrip(request)
		if err != nil || response.StatusCode != http.StatusOK {
			return response, err
		}
		var index ocispec.Index
		err = json.NewDecoder(response.Body).Decode(&index)
		if err != nil {
			return nil, err
		}
		edit(&index)
		data, err := json.Marshal(index)
		response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
		response.Header.Set("Content-Length", fmt.Sprint(len(data)))
		response.Header.Del("Docker-Content-Digest")
		return response, err
	}
}

// TestListsOfReferrers has registries that drop, reorder and invent referrers.
func TestListsOfReferrers(t *testing.T) {
	signer, entry := signing(t, "ci")
	stranger, _ := signing(t, "stranger")
	host, p := serve(t, registrytest.Handler(true)), sample(t, "qemu", "x86_64", 1)
	s, _ := mustPublish(t, host, p, stranger)
	r, _, _ := connect(t, host)
	r.Signer = signer
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Fatal(err)
	}
	lie := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: trust.BundleType, Digest: ocispec.DescriptorEmptyJSON.Digest, Size: 2}
	for name, test := range map[string]struct {
		edit func(*ocispec.Index)
		why  string
	}{
		"drops":     {func(i *ocispec.Index) { i.Manifests = nil }, "is unsigned"},
		"drops one": {func(i *ocispec.Index) { i.Manifests = i.Manifests[:1] }, "*"},
		"reorders":  {func(i *ocispec.Index) { slices.Reverse(i.Manifests) }, ""},
		"invents":   {func(i *ocispec.Index) { i.Manifests = append([]ocispec.Descriptor{lie}, i.Manifests...) }, ""},
		"only invents": {func(i *ocispec.Index) { i.Manifests = []ocispec.Descriptor{lie} },
			"has a signature that the registry lists and does not have"},
		"swaps types": {func(i *ocispec.Index) {
			for j := range i.Manifests {
				i.Manifests[j].Annotations = nil
			}
		}, ""},
		"floods": {func(i *ocispec.Index) {
			for j := range 500 {
				lie := lie
				lie.Digest = oci.BytesBlob("", []byte{byte(j), byte(j >> 8)}).Digest
				i.Manifests = append(i.Manifests, lie)
			}
		}, "*"},
	} {
		t.Run(name, func(t *testing.T) {
			d, faults, n := desk(t, host, policyOf(t, entry), registrytest.Rule{Path: "/referrers/", Do: edited(test.edit)})
			switch test.why {
			case "":
				wantPulled(t, d, n, p.Ref)
				n.want(t)
			case "*": // It depends on the order of digests, and must end either way.
				_, _, _ = d.Find(t.Context(), p.Ref)
			default:
				wantRefused(t, d, n, p.Ref, test.why)
			}
			if asked := len(faults.Requests()); asked > 50 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// TestPoisoned has a signed artifact whose tarball has other bytes in the registry.
func TestPoisoned(t *testing.T) {
	signer, entry := signing(t, "ci")
	host, p := registrytest.New(t), sample(t, "qemu", "x86_64", 1)
	_, artifact := mustPublish(t, host, p, signer)
	d, _, n := desk(t, host, policyOf(t, entry), registrytest.Rule{Path: "/blobs/" + artifact.Digest, Do: registrytest.Wrong(1000)})
	if _, err := d.Registry.Pull(t.Context(), p.Ref, d.Local); !IsNotFound(err) {
		t.Errorf("Pull: %v, want a miss", err)
	}
	if text := strings.Join(n.texts(), "\n"); !strings.Contains(text, "hashes to") {
		t.Errorf("noted %q", text)
	}
}

func serve(t testing.TB, handler http.Handler) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func removeIndex(t testing.TB, s *Local, name string) {
	t.Helper()
	if err := os.Remove(indexPath(s.layout(name))); err != nil {
		t.Fatal(err)
	}
}

// TestRollback has a moving tag that somebody points at an older artifact, which is signed.
func TestRollback(t *testing.T) {
	signer, entry := signing(t, "ci")
	host, policy := registrytest.New(t), policyOf(t, entry)
	push := func(number int) {
		t.Helper()
		p := sample(t, "qemu", "x86_64", number)
		s, _ := open(t)
		put(t, s, p)
		r, _, _ := connect(t, host)
		r.Signer = signer
		if err := r.Push(t.Context(), p.Ref, s, []string{"latest-main-x86_64"}); err != nil {
			t.Fatal(err)
		}
	}
	push(1)
	time.Sleep(1100 * time.Millisecond) // Statements have whole seconds.
	push(2)
	d, _, n := desk(t, host, policy)
	latest := func() {
		t.Helper()
		r, _, _ := connect(t, host)
		r.client, r.Guard = d.Registry.client, d.Registry.Guard
		d.Registry = r
		if _, err := d.Latest(t.Context(), "qemu", "latest-main-x86_64"); err != nil {
			t.Fatal(err)
		}
	}
	latest()
	latest()
	n.want(t)
	push(1)
	latest()
	n.want(t, "the tag latest-main-x86_64 of qemu in the registry "+host)
}
