package store

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// shelfOf lists the repository of qemu.
func shelfOf(t testing.TB, r *Registry) Shelf {
	t.Helper()
	shelf, err := r.Shelf(t.Context(), "qemu")
	if err != nil {
		t.Fatal(err)
	}
	return shelf
}

// referrersOf counts the referrers of an artifact in a registry.
func referrersOf(t testing.TB, r *Registry, artifact Artifact) int {
	t.Helper()
	repository, err := r.repository(artifact.Ref)
	if err != nil {
		t.Fatal(err)
	}
	list, err := repository.Referrers(t.Context(), artifact.Manifest.Digest(), "", 100)
	if err != nil && !IsNotFound(err) {
		t.Fatal(err)
	}
	return len(list)
}

// stock pushes artifacts with a proof each.
func stock(t testing.TB, host string, count int) (artifacts []Artifact) {
	t.Helper()
	s, _ := open(t)
	r, _, _ := connect(t, host)
	for i := range count {
		artifact := put(t, s, sample(t, "qemu", "x86_64", i))
		if err := s.Attach(t.Context(), artifact, Proof, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if err := r.Push(t.Context(), artifact.Ref, s, []string{fmt.Sprintf("commit-%040d-x86_64", i), "latest-main-x86_64"}); err != nil {
			t.Fatal(err)
		}
		artifacts = append(artifacts, artifact)
	}
	return artifacts
}

func TestRegistryRemove(t *testing.T) {
	for _, referrers := range []bool{false, true} {
		server := httptest.NewServer(registrytest.Handler(referrers))
		defer server.Close()
		host := strings.TrimPrefix(server.URL, "http://")
		artifacts := stock(t, host, 3)
		r, _, _ := connect(t, host)
		foreign(t, r)
		shelf := shelfOf(t, r)
		if len(shelf.Items) != 3 || !slices.Equal(shelf.Foreign, []string{"mine"}) {
			t.Fatalf("items %+v, foreign %q", shelf.Items, shelf.Foreign)
		}
		gone := slices.DeleteFunc(shelf.Items, func(item Item) bool { return item.Key != artifacts[0].Key })
		if len(gone[0].Tags) != 2 {
			t.Errorf("tags %q, want the key and the commit", gone[0].Tags)
		}
		removed, err := r.Remove(t.Context(), shelf, gone)
		if err != nil || len(removed) != 1 {
			t.Fatalf("removed %d, %v", len(removed), err)
		}
		after := shelfOf(t, r)
		if len(after.Items) != 2 || len(after.Foreign) != 1 {
			t.Errorf("left %+v, foreign %q", after.Items, after.Foreign)
		}
		for i, artifact := range artifacts {
			want := min(i, 1)
			if got := referrersOf(t, r, artifact); got != want {
				t.Errorf("artifact %d has %d referrers, want %d", i, got, want)
			}
			if after.tags[fallback(artifact.Manifest.Digest())] != "" && i == 0 {
				t.Error("the fallback tag stays")
			}
		}
	}
}

// foreign gives the repository a manifest that is not an entry.
func foreign(t testing.TB, r *Registry) {
	t.Helper()
	repository, err := r.repository(movingRef{asset: "qemu"})
	if err != nil {
		t.Fatal(err)
	}
	empty := oci.BytesBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	if _, err := repository.Push(t.Context(), empty, oci.Sending{}); err != nil {
		t.Fatal(err)
	}
	m, err := oci.NewManifest(ocispec.Manifest{ArtifactType: "application/mine", Config: empty.Descriptor, Layers: []ocispec.Descriptor{empty.Descriptor}})
	if err == nil {
		err = repository.PutManifest(t.Context(), m, "mine")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledRegistryRemoval loses the registry at each of the removals.
func TestKilledRegistryRemoval(t *testing.T) {
	for nth := 1; ; nth++ {
		host := registrytest.New(t)
		artifacts := stock(t, host, 3)
		lost := registrytest.Rule{Method: "DELETE", Path: "/manifests/", Nth: nth, Do: registrytest.Status(401)}
		r, faults, _ := connect(t, host, lost)
		shelf := shelfOf(t, r)
		doomed := shelf.Items[0].Key
		_, err := r.Remove(t.Context(), shelf, shelf.Items[:1])
		if faults.Met(0) < nth {
			if nth < 4 {
				t.Fatalf("%d removals for an entry, a proof and a fallback tag", nth-1)
			}
			return
		}
		if !oci.Refused(err) {
			t.Fatalf("removal %d failed without an error: %v", nth, err)
		}
		again, _, n := connect(t, host)
		for _, artifact := range artifacts {
			s, _ := open(t)
			pulled, err := again.Pull(t.Context(), artifact.Ref, s)
			if artifact.Key == doomed {
				if err != nil && !IsNotFound(err) {
					t.Errorf("after removal %d: %v", nth, err)
				}
				continue
			}
			if err != nil || referrersOf(t, again, pulled) != 1 {
				t.Errorf("after removal %d, an entry that stays: %v", nth, err)
			}
		}
		n.want(t)
		shelf = shelfOf(t, again)
		first := slices.DeleteFunc(slices.Clone(shelf.Items), func(item Item) bool { return item.Key != doomed })
		if _, err := again.Remove(t.Context(), shelf, first); err != nil {
			t.Fatal(err)
		}
		shelf = shelfOf(t, again)
		for tag := range shelf.tags {
			if isFallback(tag) && !slices.ContainsFunc(shelf.Items, func(item Item) bool { return fallback(item.Manifest.Digest()) == tag }) {
				t.Errorf("after removal %d and another run, the fallback tag %s stays", nth, tag)
			}
		}
		if len(shelf.Items) != 2 {
			t.Errorf("after removal %d and another run, %d items are left", nth, len(shelf.Items))
		}
	}
}

// TestRemovalBesidePushes pushes while a collection runs: new entries stay, and an entry
// that gets a new tag after it was listed.
func TestRemovalBesidePushes(t *testing.T) {
	host := registrytest.New(t)
	artifacts := stock(t, host, 20)
	r, _, _ := connect(t, host)
	shelf := shelfOf(t, r)
	// Pushed again by another commit, after the listing.
	s, _ := open(t)
	pusher, _, _ := connect(t, host)
	put(t, s, sample(t, "qemu", "x86_64", 3))
	if err := pusher.Push(t.Context(), artifacts[3].Ref, s, []string{"commit-" + strings.Repeat("a", 40) + "-x86_64"}); err != nil {
		t.Fatal(err)
	}
	// A tag that was there is moved to an entry that is to go.
	put(t, s, sample(t, "qemu", "x86_64", 4))
	if err := pusher.Push(t.Context(), artifacts[4].Ref, s, []string{"latest-main-x86_64"}); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 8 {
		put(t, s, sample(t, "qemu", "x86_64", 100+i))
	}
	wait.Go(func() {
		for i := range 8 {
			if err := pusher.Push(t.Context(), sample(t, "qemu", "x86_64", 100+i).Ref, s, []string{"latest-other-x86_64"}); err != nil {
				t.Error(err)
			}
		}
	})
	removed, err := r.Remove(t.Context(), shelf, shelf.Items)
	wait.Wait()
	if err != nil || len(removed) != 18 {
		t.Errorf("removed %d, %v, want 18", len(removed), err)
	}
	for _, i := range []int{3, 4, 100, 101, 102, 103, 104, 105, 106, 107} {
		empty, _ := open(t)
		if _, err := pusher.Pull(t.Context(), sample(t, "qemu", "x86_64", i).Ref, empty); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

// TestPushBesideRemoval has an entry removed after a push has found it and before its tag
// was seen: the push sends it again.
func TestPushBesideRemoval(t *testing.T) {
	host := registrytest.New(t)
	artifacts := stock(t, host, 1)
	s, _ := open(t)
	put(t, s, sample(t, "qemu", "x86_64", 0))
	other, _, _ := connect(t, host)
	shelf := shelfOf(t, other)
	tag := "commit-" + strings.Repeat("a", 40) + "-x86_64"
	r, _, _ := connect(t, host, registrytest.Rule{Method: "PUT", Path: tag, Nth: 1, Do: func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := base.RoundTrip(request)
		rm := remover{repository: must(other.repository(artifacts[0].Ref)), shelf: shelf}
		if _, removeErr := rm.items(t.Context(), shelf.Items); removeErr != nil {
			t.Error(removeErr)
		}
		return response, err
	}})
	if err := r.Push(t.Context(), artifacts[0].Ref, s, []string{tag}); err != nil {
		t.Fatal(err)
	}
	if latest, err := other.Latest(t.Context(), "qemu", tag); err != nil || latest.Key != artifacts[0].Key {
		t.Errorf("the tag names %+v, %v", latest.Ref, err)
	}
	empty, _ := open(t)
	if _, err := other.Pull(t.Context(), artifacts[0].Ref, empty); err != nil {
		t.Error(err)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// TestRegistryThatRefusesRemoval is the default of the distribution's registry, and GHCR's.
func TestRegistryThatRefusesRemoval(t *testing.T) {
	for status, want := range map[int]string{
		405: "it does not allow removal by this API: enable it in the registry (storage.delete.enabled",
		403: "log in as a user who may delete there",
	} {
		host := registrytest.New(t)
		stock(t, host, 1)
		r, _, _ := connect(t, host, registrytest.Rule{Method: "DELETE", Path: "/", Do: registrytest.Status(status)})
		shelf := shelfOf(t, r)
		removed, err := r.Remove(t.Context(), shelf, shelf.Items)
		if err == nil || !strings.Contains(err.Error(), want) || len(removed) != 0 {
			t.Errorf("%d: removed %d, %v", status, len(removed), err)
		}
	}
}
