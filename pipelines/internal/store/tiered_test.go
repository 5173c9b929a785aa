package store

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

func TestTieredHits(t *testing.T) {
	host := registrytest.New(t)
	p := rich(t, "qemu")
	want := pushed(t, host, p)
	count := &counter{}
	faults := &registrytest.Faults{Base: count.Transport()}
	n := newNotes()
	r, err := OpenRegistry(host+"/kata/cache", oci.Options{Report: n.report, Transport: faults})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t)
	tiered := &Tiered{Local: s, Registry: r}
	got, where, err := tiered.Find(t.Context(), p.Ref)
	if err != nil || where != InRegistry || !cmp.Equal(manifestOnly(want), got) {
		t.Fatalf("Find: %q, %v\n%s", where, err, cmp.Diff(manifestOnly(want), got))
	}
	// The output has the right content: nothing is pulled.
	out := filepath.Join(t.TempDir(), "modules")
	data, err := os.ReadFile(p.Outputs["modules"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, err := tiered.Export(t.Context(), got, "modules", out); err != nil || changed {
		t.Errorf("Export over the same: %t, %v", changed, err)
	}
	if requests := faults.Requests(); len(requests) != 1 {
		t.Errorf("requests: %q, want only the lookup", requests)
	}
	wantMiss(t, s, p.Ref)
	for _, output := range []string{"", "headers"} {
		out := filepath.Join(t.TempDir(), "out")
		if changed, err := tiered.Export(t.Context(), got, output, out); err != nil || !changed {
			t.Errorf("Export %q: %t, %v", output, changed, err)
		}
	}
	same(t, s, want, p)
	if _, err := tiered.Export(t.Context(), got, "nothing", out); err == nil || IsNotFound(err) {
		t.Errorf("Export of no output: %v", err)
	}
	// The local store has it: no request.
	requests, connections := len(faults.Requests()), count.Connections.Load()
	got, where, err = tiered.Find(t.Context(), p.Ref)
	if err != nil || where != InLocal || !cmp.Equal(manifestOnly(want), got) {
		t.Errorf("Find: %q, %v", where, err)
	}
	if changed, err := tiered.Export(t.Context(), got, "", filepath.Join(t.TempDir(), "out")); err != nil || !changed {
		t.Errorf("Export: %t, %v", changed, err)
	}
	if len(faults.Requests()) != requests || count.Connections.Load() != connections {
		t.Errorf("a local hit sent %q", faults.Requests()[requests:])
	}
	n.want(t)
}

func TestTieredFresh(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	r, faults, _ := connect(t, host)
	s, _ := open(t)
	tiered := &Tiered{Local: s, Registry: r, Fresh: true}
	artifact, err := tiered.Put(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
		t.Errorf("Get: %v, want a miss", err)
	}
	if changed, err := tiered.Export(t.Context(), artifact, "", filepath.Join(t.TempDir(), "out")); err != nil || !changed {
		t.Errorf("Export: %t, %v", changed, err)
	}
	if len(faults.Requests()) > 0 {
		t.Errorf("requests: %q", faults.Requests())
	}
}

func TestTieredWithoutRegistry(t *testing.T) {
	p := sample(t, "qemu", "x86_64", 1)
	s, _ := open(t)
	tiered := &Tiered{Local: s}
	if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
		t.Errorf("Get: %v, want a miss", err)
	}
	artifact := put(t, s, p)
	out := filepath.Join(t.TempDir(), "out")
	if changed, err := tiered.Export(t.Context(), artifact, "", out); err != nil || !changed {
		t.Errorf("Export: %t, %v", changed, err)
	}
}

// TestLocalDamageIsPulled has a damaged tarball in the local store that the
// registry can replace.
func TestLocalDamageIsPulled(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	s, local := open(t)
	put(t, s, p)
	tarball, err := os.ReadFile(p.Tarball)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(tarball)
	bad[9] ^= 1
	spoil(t, s.layout("qemu"), want.Digest, bad)
	r, _, n := connect(t, host)
	tiered := &Tiered{Local: s, Registry: r}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := tiered.Export(t.Context(), want, "", out); !IsNotFound(err) {
		t.Fatalf("Export: %v, want a miss", err)
	}
	local.want(t, "hashes to")
	got, where, err := tiered.Find(t.Context(), p.Ref)
	if err != nil || where != InRegistry {
		t.Fatalf("Find: %q, %v", where, err)
	}
	if changed, err := tiered.Export(t.Context(), got, "", out); err != nil || !changed {
		t.Errorf("Export: %t, %v", changed, err)
	}
	same(t, s, want, p)
	n.want(t)
}

// TestOtherBuildIsReplaced stores another build of the key locally between a lookup in the
// registry and the export: the caller gets the build that was looked up.
func TestOtherBuildIsReplaced(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	r, _, _ := connect(t, host)
	s, _ := open(t)
	tiered := &Tiered{Local: s, Registry: r}
	got, err := tiered.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	other := p
	other.Tarball = filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(other.Tarball, tarballOf(99, 30_000), 0o644); err != nil {
		t.Fatal(err)
	}
	put(t, s, other)
	if changed, err := tiered.Export(t.Context(), got, "", filepath.Join(t.TempDir(), "out")); err != nil || !changed {
		t.Errorf("Export: %t, %v", changed, err)
	}
	same(t, s, want, p)
}

// TestPullsOnce has several exports of an artifact that only the registry has.
func TestPullsOnce(t *testing.T) {
	host := registrytest.New(t)
	p := rich(t, "qemu")
	want := pushed(t, host, p)
	s, _ := open(t)
	all := make([]*registrytest.Faults, 4)
	var group sync.WaitGroup
	for i := range all {
		r, faults, _ := connect(t, host)
		all[i] = faults
		tiered := &Tiered{Local: s, Registry: r}
		out := filepath.Join(t.TempDir(), "out")
		group.Go(func() {
			if changed, err := tiered.Export(t.Context(), want, "", out); err != nil || !changed {
				t.Errorf("Export: %t, %v", changed, err)
			}
		})
	}
	group.Wait()
	blobs := 0
	for _, faults := range all {
		blobs += len(faults.Requests())
	}
	if blobs != 5 {
		t.Errorf("%d blobs were requested, want 5", blobs)
	}
	same(t, s, want, p)
}

// TestContextIsNoFailure has a lookup end with its context: later lookups must still use
// the registry.
func TestContextIsNoFailure(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	ctx, cancel := context.WithCancel(t.Context())
	r, _, n := connect(t, host, registrytest.Rule{Nth: 1, Do: func(*http.Request, http.RoundTripper) (*http.Response, error) {
		cancel()
		return nil, context.Canceled
	}})
	s, _ := open(t)
	tiered := &Tiered{Local: s, Registry: r}
	if _, err := tiered.Get(ctx, p.Ref); err == nil || IsNotFound(err) {
		t.Errorf("Get: %v, want the context's error", err)
	}
	if _, err := tiered.Get(t.Context(), p.Ref); err != nil {
		t.Errorf("Get: %v", err)
	}
	n.want(t)
}

// A damaged record is a miss, like a damaged tarball, so the artifact is pulled again.
func TestDamagedRecordIsPulled(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	artifact := pushed(t, host, p)
	r, err := OpenRegistry(host+"/kata/cache", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t)
	put(t, s, p)
	m, err := s.find(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, s.layout("qemu"), m.Layers[1].Digest.String(), make([]byte, m.Layers[1].Size))
	wantMiss(t, s, p.Ref)
	tiered := &Tiered{Local: s, Registry: r}
	if _, err := tiered.Blob(t.Context(), artifact, ""); err != nil {
		t.Fatal(err)
	}
	same(t, s, artifact, p)
}
