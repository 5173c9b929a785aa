package store

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestProofs stores proofs of an artifact in both tiers, with a registry that lists
// referrers and with one that does not.
func TestProofs(t *testing.T) {
	server := httptest.NewServer(registrytest.Handler(true))
	defer server.Close()
	for name, host := range map[string]string{"api": strings.TrimPrefix(server.URL, "http://"), "tag": registrytest.New(t)} {
		t.Run(name, func(t *testing.T) { proofs(t, host) })
	}
}

func proofs(t *testing.T, host string) {
	p := sample(t, "qemu", "x86_64", 1)
	s, n := open(t)
	artifact := put(t, s, p)
	if got, err := (&Tiered{Local: s}).Attached(t.Context(), artifact, Proof); err != nil || len(got) != 0 {
		t.Errorf("proofs before there are any: %q, %v", got, err)
	}
	want := [][]byte{[]byte(`{"verdict":"passed"}`), []byte(`{"verdict":"failed"}`)}
	for _, proof := range append(want, want[0]) {
		if err := s.Attach(t.Context(), artifact, Proof, proof); err != nil {
			t.Fatal(err)
		}
	}
	wantProofs(t, &Tiered{Local: s}, artifact, want)
	r, faults, _ := connect(t, host)
	for range 2 {
		if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	uploads := map[string]int{}
	for _, request := range sent(faults) {
		uploads[request]++
	}
	for request, times := range uploads {
		if times > 1 && !strings.Contains(request, "/manifests/sha256-") {
			t.Errorf("sent %s %d times", request, times)
		}
	}
	found, err := r.Lookup(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	empty, _ := open(t)
	other := &Tiered{Local: empty, Registry: r}
	wantProofs(t, other, found, want)
	if got, err := r.List(t.Context(), "qemu"); err != nil || len(got) != 1 {
		t.Errorf("proofs are listed as artifacts: %v, %v", got, err)
	}
	if got, err := s.List(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("proofs are listed as artifacts: %v, %v", got, err)
	}
	sound(t, s)
	n.want(t)
	// A rebuilt index has them, too.
	if err := os.WriteFile(filepath.Join(s.dir, "qemu", "index.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wantProofs(t, &Tiered{Local: s}, artifact, want)
}

func TestProofOfNothing(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	artifact := put(t, s, p)
	if err := s.Attach(t.Context(), artifact, Proof, nil); err == nil {
		t.Error("an empty proof is accepted")
	}
	p.Record = []byte(`{"base":"another"}`)
	put(t, s, p)
	if err := s.Attach(t.Context(), artifact, Proof, []byte("{}")); !IsNotFound(err) {
		t.Errorf("a proof of a replaced build: %v", err)
	}
	r, _, n := connect(t, registrytest.New(t), registrytest.Rule{Do: registrytest.Status(503)})
	empty, _ := open(t)
	if got, err := (&Tiered{Local: empty, Registry: r}).Attached(t.Context(), artifact, Proof); err != nil || len(got) != 0 {
		t.Errorf("proofs of a registry that fails: %q, %v", got, err)
	}
	n.want(t, "continuing without the registry")
}

// wantProofs compares in any order.
func wantProofs(t *testing.T, from *Tiered, artifact Artifact, want [][]byte) {
	t.Helper()
	got, err := from.Attached(t.Context(), artifact, Proof)
	if err != nil {
		t.Fatal(err)
	}
	count := func(proofs [][]byte) map[string]int {
		all := map[string]int{}
		for _, proof := range proofs {
			all[string(bytes.TrimSpace(proof))]++
		}
		return all
	}
	if diff := cmp.Diff(count(want), count(got)); diff != "" {
		t.Errorf("proofs (-want +got)\n%s", diff)
	}
}

// TestRefusedProof makes sure that the error has the hint once.
func TestRefusedProof(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	if err := s.Attach(t.Context(), put(t, s, p), Proof, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	r, _, _ := connect(t, registrytest.New(t), registrytest.Rule{Method: "PUT", Path: "/manifests/sha256:", Do: registrytest.Status(401)})
	err := r.Push(t.Context(), p.Ref, s, nil)
	if err == nil || strings.Count(err.Error(), "docker login") != 1 {
		t.Errorf("Push: %v, want what helps, once", err)
	}
}

// TestProofThatIsNotListed has a registry that took a proof, but not the tag that lists
// it: the next push lists it.
func TestProofThatIsNotListed(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	artifact := put(t, s, p)
	if err := s.Attach(t.Context(), artifact, Proof, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	r, _, _ := connect(t, registrytest.New(t), registrytest.Rule{Method: "PUT", Path: "/manifests/sha256-", Nth: 1, Do: registrytest.Status(403)})
	if err := r.Push(t.Context(), p.Ref, s, nil); !oci.Refused(err) {
		t.Errorf("Push: %v, want a refusal", err)
	}
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Fatal(err)
	}
	empty, _ := open(t)
	wantProofs(t, &Tiered{Local: empty, Registry: r}, artifact, [][]byte{[]byte("{}")})
}

// TestProofsOfAFailedRegistry has a registry that failed before the lookup of proofs: that
// is reported, because the registry may have some.
func TestProofsOfAFailedRegistry(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	artifact := put(t, s, p)
	empty, _ := open(t)
	r, _, n := connect(t, registrytest.New(t), registrytest.Rule{Do: registrytest.Status(503)})
	tiered := &Tiered{Local: empty, Registry: r}
	if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
		t.Fatal(err)
	}
	if got, err := tiered.Attached(t.Context(), artifact, Proof); err != nil || len(got) != 0 {
		t.Errorf("proofs of a registry that failed: %q, %v", got, err)
	}
	n.want(t, "continuing without the registry", "failed before: continuing without its proofs of "+p.String()+", if it has any")
}

func TestTooManyProofs(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	artifact := put(t, s, p)
	var list []string
	for i := range maxReferrers + 1 {
		list = append(list, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":%q,"digest":"sha256:%064x","size":1}`, Proof, i))
	}
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(list, ",") + `]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !strings.Contains(request.URL.Path, "/referrers/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_, _ = w.Write([]byte(index))
	}))
	defer server.Close()
	r, _, n := connect(t, strings.TrimPrefix(server.URL, "http://"))
	if got, err := (&Tiered{Local: s, Registry: r}).Attached(t.Context(), artifact, Proof); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	n.want(t, "has more than 256 proofs of "+p.String()+": reading the first")
}

// TestKindsOfDocuments keeps documents of two kinds about one artifact apart, in both
// tiers.
func TestKindsOfDocuments(t *testing.T) {
	p := sample(t, "qemu", "x86_64", 1)
	s, n := open(t)
	artifact := put(t, s, p)
	want := map[Kind]string{Proof: `{"verdict":"passed"}`, SBOM: `{"spdxVersion":"SPDX-2.3","comment":"` + strings.Repeat("x", 200<<10) + `"}`}
	for kind, document := range want {
		if err := s.Attach(t.Context(), artifact, kind, []byte(document)); err != nil {
			t.Fatal(err)
		}
	}
	r, _, _ := connect(t, registrytest.New(t))
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Fatal(err)
	}
	empty, _ := open(t)
	for _, tiered := range []*Tiered{{Local: s}, {Local: empty, Registry: r}, {Local: s, Registry: r}} {
		for kind, document := range want {
			got, err := tiered.Attached(t.Context(), artifact, kind)
			if err != nil || len(got) != 1 || string(got[0]) != document {
				t.Errorf("documents of kind %s: got %d, %v; want one of %d bytes", kind, len(got), err, len(document))
			}
		}
	}
	n.want(t)
	sound(t, s)
}

// TestOriginOfAnEntry makes sure that the index of a layout keeps where entries are from.
func TestOriginOfAnEntry(t *testing.T) {
	s, _ := open(t)
	for i, origin := range []string{"", "the registry example.org/kata", "here"} {
		artifact := put(t, s, sample(t, "qemu", "x86_64", i))
		m := artifact.Manifest
		m.Origin = origin
		if err := s.layout("qemu").Add(t.Context(), artifact.Tag(), m, nil); err != nil {
			t.Fatal(err)
		}
		if found, err := s.find(t.Context(), artifact.Ref); err != nil || found.Origin != origin {
			t.Errorf("origin %q, %v; want %q", found.Origin, err, origin)
		}
	}
}
