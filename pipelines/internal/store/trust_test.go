package store

import (
	"bytes"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// signing returns a signer with a new key, and the signer's entry in a policy.
func signing(t testing.TB, name string, more ...string) (*trust.Signer, string) {
	t.Helper()
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := trust.LoadKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	entry := fmt.Sprintf("  - name: %s\n    key: |\n      %s\n", name, strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n      "))
	if len(more) == 0 {
		more = []string{"signs: [cache]"}
	}
	return signer, entry + "    " + strings.Join(more, "\n    ") + "\n"
}

func policyOf(t testing.TB, signers ...string) *trust.Policy {
	t.Helper()
	tree := fstest.MapFS{trust.PolicyFile: {Data: []byte("signers:\n" + strings.Join(signers, ""))}}
	policy, err := trust.LoadPolicy(tree)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// desk is a machine with an empty cache that requires signatures.
func desk(t testing.TB, host string, policy *trust.Policy, rules ...registrytest.Rule) (*Tiered, *registrytest.Faults, *notes) {
	t.Helper()
	r, faults, n := connect(t, host, rules...)
	s := Open(filepath.Join(t.TempDir(), "store"), n.report)
	s.Guard = Guard{trust.Require, policy}
	r.Guard = s.Guard
	return &Tiered{Local: s, Registry: r}, faults, n
}

// publish pushes a sample from a machine that built it, signed unless the signer is nil.
func publish(t testing.TB, host string, p Put, signer *trust.Signer, rules ...registrytest.Rule) (*Local, Artifact, error) {
	t.Helper()
	s, _ := open(t)
	artifact := put(t, s, p)
	r, _, _ := connect(t, host, rules...)
	r.Signer = signer
	return s, artifact, r.Push(t.Context(), p.Ref, s, nil)
}

func mustPublish(t testing.TB, host string, p Put, signer *trust.Signer) (*Local, Artifact) {
	t.Helper()
	s, artifact, err := publish(t, host, p, signer)
	if err != nil {
		t.Fatal(err)
	}
	return s, artifact
}

// wantRefused makes sure that a lookup misses, and says why in one line.
func wantRefused(t *testing.T, d *Tiered, n *notes, ref Ref, why ...string) {
	t.Helper()
	if _, where, err := d.Find(t.Context(), ref); !IsNotFound(err) {
		t.Errorf("Find: %s, %v; want a miss", where, err)
	}
	if _, err := d.Registry.Pull(t.Context(), ref, d.Local); !IsNotFound(err) {
		t.Errorf("Pull: %v, want a miss", err)
	}
	texts := n.texts()
	if len(texts) != 1 {
		t.Fatalf("noted %q, want one line", texts)
	}
	for _, part := range why {
		if !strings.Contains(texts[0], part) {
			t.Errorf("noted %q, want %q", texts[0], part)
		}
	}
}

// wantPulled makes sure that an artifact is found, pulled, and found locally from then on.
func wantPulled(t *testing.T, d *Tiered, n *notes, ref Ref) {
	t.Helper()
	artifact, where, err := d.Find(t.Context(), ref)
	if err != nil || where != InRegistry {
		t.Fatalf("Find: %s, %v, noted %q; want it in the registry", where, err, n.texts())
	}
	if _, err := d.Blob(t.Context(), artifact, ""); err != nil {
		t.Fatal(err)
	}
	alone := &Tiered{Local: d.Local}
	if _, where, err := alone.Find(t.Context(), ref); err != nil || where != InLocal {
		t.Errorf("Find after the pull: %s, %v, noted %q", where, err, n.texts())
	}
}

// TestSigned pulls a signed artifact from registries with and without the API for
// referrers: two requests more than an unsigned one. Its signature is checked again in the
// local store, and a layout that is rebuilt keeps it.
func TestSigned(t *testing.T) {
	server := serve(t, registrytest.Handler(true))
	for name, host := range map[string]string{"api": server, "tag": registrytest.New(t)} {
		t.Run(name, func(t *testing.T) {
			signer, entry := signing(t, "ci")
			p := sample(t, "qemu", "x86_64", 1)
			mustPublish(t, host, p, signer)
			d, faults, n := desk(t, host, policyOf(t, entry))
			wantPulled(t, d, n, p.Ref)
			free, plain, _ := desk(t, host, nil)
			wantPulled(t, free, n, p.Ref)
			if more := len(faults.Requests()) - len(plain.Requests()); more != 2 && name == "api" || more > 3 {
				t.Errorf("%d requests more: %q", more, faults.Requests())
			}
			removeIndex(t, d.Local, "qemu")
			if _, err := d.Local.Get(t.Context(), p.Ref); err != nil {
				t.Errorf("after the index was rebuilt: %v", err)
			}
			n.want(t)
			sound(t, d.Local)
		})
	}
}

// TestRefused has entries that must not be used, for every reason that one push can have.
func TestRefused(t *testing.T) {
	signer, entry := signing(t, "ci")
	stranger, _ := signing(t, "stranger")
	old, ended := signing(t, "ci-2020", "signs: [cache]", `until: "2020-12-31"`)
	releaser, only := signing(t, "releaser", "signs: [release]")
	policy := policyOf(t, entry, ended, only)
	for name, test := range map[string]struct {
		signer *trust.Signer
		why    string
	}{
		"unsigned":    {nil, "is unsigned; assets/trust.yaml wants a signature by ci or ci-2020"},
		"unknown key": {stranger, "which is not in the policy"},
		"ended":       {old, "is signed with the key of ci-2020, which ended on 2020-12-31 (this machine's date is 20"},
		"role":        {releaser, "is signed by releaser, who may not sign for the role cache"},
	} {
		t.Run(name, func(t *testing.T) {
			host, p := registrytest.New(t), sample(t, "qemu", "x86_64", 1)
			s, _ := mustPublish(t, host, p, test.signer)
			d, _, n := desk(t, host, policy)
			wantRefused(t, d, n, p.Ref, "ignoring the artifact "+p.Tag()+" of qemu", test.why)
			// The next push heals it, and a second signature does no harm.
			r, _, _ := connect(t, host)
			r.Signer = signer
			if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
				t.Fatal(err)
			}
			d, _, n = desk(t, host, policy)
			wantPulled(t, d, n, p.Ref)
		})
	}
}

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

// TestSignedVerdicts makes sure that only signed verdicts of a registry count, once one is
// required.
func TestSignedVerdicts(t *testing.T) {
	signer, entry := signing(t, "ci")
	host, p := registrytest.New(t), sample(t, "qemu", "x86_64", 1)
	s, artifact := mustPublish(t, host, p, signer)
	proof := []byte(`{"version":1,"checks":[{"name":"boot","verdict":"passed","saw":"a shell"}]}`)
	attached := func(s *Local, signer *trust.Signer, proof []byte) {
		t.Helper()
		if err := s.Attach(t.Context(), artifact, Proof, proof); err != nil {
			t.Fatal(err)
		}
		r, _, _ := connect(t, host)
		r.Signer = signer
		for range 2 {
			if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	attached(s, signer, proof)
	forger, _ := open(t)
	put(t, forger, p)
	attached(forger, nil, []byte(`{"version":1,"checks":[{"name":"forged","verdict":"passed"}]}`))
	d, _, _ := desk(t, host, policyOf(t, entry))
	wantPulled(t, d, newNotes(), p.Ref)
	wantProofs(t, d, artifact, [][]byte{proof})
	free, _, _ := desk(t, host, nil)
	if all, err := free.Attached(t.Context(), artifact, Proof); err != nil || len(all) != 2 {
		t.Errorf("without a policy: %d proofs, %v; want 2", len(all), err)
	}
}

// TestSignedBuilder pulls builders that are signed, and none that is not.
func TestSignedBuilder(t *testing.T) {
	signer, entry := signing(t, "ci")
	for name, with := range map[string]*trust.Signer{"signed": signer, "unsigned": nil} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			s, _ := open(t)
			r, _, _ := connect(t, host)
			r.Signer = with
			b := &Builders{Local: s, Registry: r}
			made := putBuilder(t, b, "x")
			if _, err := b.Publish(t.Context(), made.ID, made.Arch); err != nil {
				t.Fatal(err)
			}
			d, _, n := desk(t, host, policyOf(t, entry))
			_, where, err := (&Builders{Local: d.Local, Registry: d.Registry}).Get(t.Context(), made.ID, made.Arch, filepath.Join(t.TempDir(), "x.tar"))
			if with != nil && (err != nil || where != InRegistry) || with == nil && !IsNotFound(err) {
				t.Errorf("got it from %q, %v, noted %q", where, err, n.texts())
			}
		})
	}
}

// TestSignedSource signs a source once. None is required: the tree pins its hash.
func TestSignedSource(t *testing.T) {
	signer, entry := signing(t, "ci")
	host := registrytest.New(t)
	r, faults, _ := connect(t, host)
	r.Signer = signer
	path, hash := sourceFile(t)
	for range 2 {
		if _, err := r.PushSource(t.Context(), hash, "x.tar.xz", path); err != nil {
			t.Fatal(err)
		}
	}
	if lists := slices.DeleteFunc(sent(faults), func(request string) bool { return !strings.Contains(request, "/manifests/sha256-") }); len(lists) != 2 {
		t.Errorf("put %q, want the source and one list of signatures", lists)
	}
	d, _, n := desk(t, host, policyOf(t, entry))
	if _, err := d.Registry.FindSource(t.Context(), hash); err != nil {
		t.Error(err)
	}
	n.want(t)
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
