package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// hostile are tarballs that must be refused everywhere.
func hostile(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../archive/testdata/hostile/*.tar.zst")
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d tarballs, %v", len(paths), err)
	}
	return paths
}

// treatAsVetted makes a store treat a tarball as vetted.
func treatAsVetted(t *testing.T, s *Local, path string) {
	t.Helper()
	sum, _, err := files.Hash(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	verdicts := s.verdicts()
	if err := verdicts.Vet(t.Context(), sample(t, "good", "x86_64", 1).Tarball, ""); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(verdicts.Dir, "*"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("verdicts: %q, %v", kept, err)
	}
	if err := os.WriteFile(filepath.Join(verdicts.Dir, sum+filepath.Ext(kept[0])), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPutVets(t *testing.T) {
	s, _ := open(t)
	for _, path := range hostile(t) {
		main, output := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 1)
		main.Tarball = path
		output.Outputs = map[string]string{"modules": path}
		for _, p := range []Put{main, output} {
			if _, err := s.Put(t.Context(), p); err == nil || !strings.Contains(err.Error(), "vetting "+path) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was stored: %v", err)
	}
}

// TestPullVets has artifacts in the registry that were pushed without vetting.
func TestPullVets(t *testing.T) {
	host := registrytest.New(t)
	for i, path := range hostile(t) {
		evil, _ := open(t)
		p := sample(t, "qemu", "x86_64", i)
		p.Tarball = path
		treatAsVetted(t, evil, path)
		put(t, evil, p)
		r, _, n := connect(t, host)
		if err := r.Push(t.Context(), p.Ref, evil, nil); err != nil {
			t.Fatal(err)
		}
		s, _ := open(t)
		if _, err := r.Pull(t.Context(), p.Ref, s); !IsNotFound(err) {
			t.Errorf("%s: %v, want a miss", path, err)
		}
		if text := strings.Join(n.texts(), "\n"); !strings.Contains(text, "has a tarball that must not be used: vetting ") {
			t.Errorf("%s: noted %q", path, text)
		}
		wantMiss(t, s, p.Ref)
	}
}

// TestStoredBeforeVetting has a store from before tarballs were vetted.
func TestStoredBeforeVetting(t *testing.T) {
	for _, path := range hostile(t)[:3] {
		s, n := open(t)
		p := sample(t, "qemu", "x86_64", 1)
		p.Tarball = path
		treatAsVetted(t, s, path)
		artifact := put(t, s, p)
		if err := os.RemoveAll(s.verdicts().Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := (&Tiered{Local: s}).Blob(t.Context(), artifact, ""); !IsNotFound(err) || !strings.Contains(err.Error(), "must not be used") {
			t.Errorf("%s: %v, want a miss", path, err)
		}
		n.want(t, "it must not be used: vetting ")
		wantMiss(t, s, p.Ref)
	}
}

// poisoned has an artifact with a hostile tarball in the registry, and an honest build of
// the same key in a store.
func poisoned(t *testing.T, host string) (own *Local, p Put, evil Artifact) {
	t.Helper()
	theirs, _ := open(t)
	p = sample(t, "qemu", "x86_64", 1)
	honest := p.Tarball
	p.Tarball = hostile(t)[0]
	treatAsVetted(t, theirs, p.Tarball)
	evil = put(t, theirs, p)
	r, _, _ := connect(t, host)
	if err := r.Push(t.Context(), p.Ref, theirs, nil); err != nil {
		t.Fatal(err)
	}
	p.Tarball = honest
	own, _ = open(t)
	put(t, own, p)
	return own, p, evil
}

// TestPushReplacesPoison has a hostile build under the key of an honest one.
func TestPushReplacesPoison(t *testing.T) {
	host := registrytest.New(t)
	own, p, evil := poisoned(t, host)
	r, _, n := connect(t, host)
	if err := r.Push(t.Context(), p.Ref, own, []string{"v1"}); err != nil {
		t.Fatal(err)
	}
	want, err := own.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	n.want(t, "replacing the build "+evil.Manifest.Digest().String()+" of qemu in "+r.String()+" under the key "+p.Key+" by "+want.Manifest.Digest().String()+": it has a tarball that must not be used: vetting ")
	for _, tag := range []string{p.Tag(), "v1"} {
		if got, err := r.Latest(t.Context(), "qemu", tag); err != nil || got.Manifest.Digest() != want.Manifest.Digest() {
			t.Errorf("%s is %s, %v; want the honest build", tag, got.Manifest.Digest(), err)
		}
	}
	if left, err := os.ReadDir(partialPath(own.layout("qemu"))); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPoisonIsNoHit has a hostile build in both caches: no caller gets it, and it does not
// count as whole.
func TestPoisonIsNoHit(t *testing.T) {
	host := registrytest.New(t)
	_, p, _ := poisoned(t, host)
	r, _, _ := connect(t, host)
	s, _ := open(t)
	tiered := &Tiered{Local: s, Registry: r}
	found, err := tiered.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tiered.Blob(t.Context(), found, ""); !IsNotFound(err) {
		t.Errorf("Blob: %v, want a miss", err)
	}
	if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
		t.Errorf("Get after that: %v, want a miss", err)
	}
	_, damage, err := r.Verify(t.Context(), []string{"qemu"}, s)
	if err != nil || len(damage) != 1 || !strings.Contains(damage[0], p.Tag()) || !strings.Contains(damage[0], "has a tarball that must not be used") {
		t.Errorf("the registry: %q, %v", damage, err)
	}
	p.Tarball = hostile(t)[0]
	treatAsVetted(t, s, p.Tarball)
	put(t, s, p)
	if err := os.RemoveAll(s.verdicts().Dir); err != nil {
		t.Fatal(err)
	}
	if damage, err = s.Verify(t.Context()); err != nil || len(damage) != 1 || !strings.HasPrefix(damage[0], "qemu: entry "+p.Tag()+" has a tarball that must not be used") {
		t.Errorf("the local cache: %q, %v", damage, err)
	}
}
