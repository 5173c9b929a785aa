package store

import (
	"crypto/elliptic"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

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

// wantRefused fails unless a lookup misses with one line that says why.
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
