//go:build bench

package store

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestCollectBench lists and removes the entries of a registry in this process: 10,000, or
// KATA_BENCH_ENTRIES. Each has the tag of its key and of a commit, and a proof. With the
// API for referrers there are fewer, because that registry reads all manifests to list the
// referrers of one.
func TestCollectBench(t *testing.T) {
	count := 10_000
	if given, err := strconv.Atoi(os.Getenv("KATA_BENCH_ENTRIES")); err == nil {
		count = given
	}
	for _, referrers := range []bool{true, false} {
		count := count
		if referrers {
			count /= 20
		}
		server := httptest.NewServer(registrytest.Handler(referrers))
		host := strings.TrimPrefix(server.URL, "http://")
		r, faults, _ := connect(t, host)
		fill(t, r, count)
		before, began := len(faults.Requests()), time.Now()
		shelf := shelfOf(t, r)
		listed, took := len(faults.Requests())-before, time.Since(began)
		before, began = len(faults.Requests()), time.Now()
		removed, err := r.Remove(t.Context(), shelf, shelf.Items)
		if err != nil || len(removed) != count {
			t.Fatalf("removed %d, %v", len(removed), err)
		}
		requests := len(faults.Requests()) - before
		t.Logf("referrers API %t: %d entries listed in %s, %.2f requests each; removed in %s, %.2f requests each",
			referrers, count, took.Round(10*time.Millisecond), float64(listed)/float64(count), time.Since(began).Round(10*time.Millisecond), float64(requests)/float64(count))
		if left := shelfOf(t, r); len(left.tags) != 0 {
			t.Errorf("%d tags are left", len(left.tags))
		}
		server.Close()
	}
}

// fill pushes entries that share their blobs.
func fill(t *testing.T, r *Registry, count int) {
	t.Helper()
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 0)
	first := put(t, s, p)
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Fatal(err)
	}
	repository := must(r.repository(p.Ref))
	if err := repository.Delete(t.Context(), first.Manifest.Digest()); err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for i := range count {
		group.Go(func() error {
			m := first.Manifest.Manifest
			recipe := oci.BytesBlob(recipeType, fmt.Appendf(nil, `{"number":%d}`, i))
			if _, err := repository.Push(ctx, recipe, oci.Sending{}); err != nil {
				return err
			}
			m.Config = recipe.Descriptor
			made, err := oci.NewManifest(m)
			if err != nil {
				return err
			}
			for _, tag := range []string{recipe.Digest.Encoded() + "-x86_64", fmt.Sprintf("commit-%040d-x86_64", i)} {
				if err := repository.PutManifest(ctx, made, tag); err != nil {
					return err
				}
			}
			referrer, blobs, err := oci.NewReferrer(made.Descriptor(), string(Proof), []byte("{}"), nil)
			for _, blob := range blobs {
				if err == nil {
					_, err = repository.Push(ctx, blob, oci.Sending{})
				}
			}
			if err == nil {
				err = repository.PutManifest(ctx, referrer, "")
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
