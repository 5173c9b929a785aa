//go:build integration

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// These tests run the tests of the registry with the distribution's registry.

func TestDistributionRoundTrip(t *testing.T) { roundTrip(t, registrytest.Distribution(t)) }

func TestDistributionLookup(t *testing.T) { lookupIsOneRequest(t, registrytest.Distribution(t)) }

func TestDistributionPullFaults(t *testing.T) { pullThroughFaults(t, registrytest.Distribution(t)) }

func TestDistributionPushFaults(t *testing.T) { pushThroughFaults(t, registrytest.Distribution) }

func TestDistributionTwoPushers(t *testing.T) { twoPushers(t, registrytest.Distribution(t)) }

func TestDistributionKilledPull(t *testing.T) { killedPull(t, registrytest.Distribution(t)) }

func TestDistributionKilledPush(t *testing.T) { killedPush(t, registrytest.Distribution) }

func TestDistributionCredentials(t *testing.T) {
	credentialsWork(t, registrytest.StartDistribution(t, true).Host)
}

// TestDistributionDies kills the registry during a pull, and restarts it for the next.
func TestDistributionDies(t *testing.T) {
	server := registrytest.StartDistribution(t, false)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, server.Host, p)
	r, _, n := connect(t, server.Host)
	s, _ := open(t)
	tiered := &Tiered{Local: s, Registry: r}
	found, err := tiered.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := tiered.Export(t.Context(), found, "", out); !IsNotFound(err) {
		t.Errorf("Export: %v, want a miss", err)
	}
	if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
		t.Errorf("Get: %v, want a miss", err)
	}
	n.want(t, "continuing without the artifact")
	sound(t, s)
	server.Start(t)
	r, _, n = connect(t, server.Host)
	tiered.Registry = r
	if changed, err := tiered.Export(t.Context(), found, "", out); err != nil || !changed {
		t.Errorf("Export: %t, %v", changed, err)
	}
	same(t, s, want, p)
	n.want(t)
}

// TestDistributionDamage damages a tarball in the registry's storage.
func TestDistributionDamage(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"flipped":   func(data []byte) []byte { data[100_000] ^= 1; return data },
		"truncated": func(data []byte) []byte { return data[:1000] },
	} {
		t.Run(name, func(t *testing.T) {
			server := registrytest.StartDistribution(t, false)
			p := sample(t, "qemu", "x86_64", 1)
			want := pushed(t, server.Host, p)
			sum := strings.TrimPrefix(want.Digest, "sha256:")
			blob := filepath.Join(server.Storage, "docker/registry/v2/blobs/sha256", sum[:2], sum, "data")
			data, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blob, damage(data), 0o644); err != nil {
				t.Fatal(err)
			}
			r, _, n := connect(t, server.Host)
			s, _ := open(t)
			tiered := &Tiered{Local: s, Registry: r}
			if _, err := tiered.Export(t.Context(), want, "", filepath.Join(t.TempDir(), "out")); !IsNotFound(err) {
				t.Errorf("Export: %v, want a miss", err)
			}
			if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
				t.Errorf("Get: %v, want a miss", err)
			}
			n.want(t, " in the registry "+server.Host+"/kata/cache: it has")
			if err := verified(t, r, p.Ref); err == nil || IsNotFound(err) {
				t.Errorf("Verify: %v, want the damage", err)
			}
			sound(t, s)
			put(t, s, p)
			same(t, s, want, p)
			// The push must not report success while the registry serves the damaged blob.
			pushErr := r.Push(t.Context(), p.Ref, s, nil)
			fresh, _, _ := connect(t, server.Host)
			after := verified(t, fresh, p.Ref)
			if (pushErr == nil) != (after == nil) {
				t.Errorf("Push: %v; then Verify: %v", pushErr, after)
			}
			if pushErr != nil && !strings.Contains(pushErr.Error(), "accepted the blob "+want.Digest) {
				t.Errorf("Push: %v, want the blob to delete", pushErr)
			}
		})
	}
}

// TestReadOnlyStore has a damaged index in a read-only store.
func TestReadOnlyStore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	for name, locks := range map[string]bool{"with locks": true, "without locks": false} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t)
			p := sample(t, "qemu", "x86_64", 1)
			want := put(t, s, p)
			write(t, indexPath(s.layout("qemu")), `{"schemaVersion":`)
			if !locks {
				if err := os.RemoveAll(filepath.Join(s.dir, locksFolder)); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Mount(s.dir, s.dir, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(s.dir, unix.MNT_DETACH); err != nil { // Entries in use stay open.
					t.Error(err)
				}
			})
			if err := unix.Mount("", s.dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			n := newNotes()
			s = Open(s.dir, n.report)
			for range 2 {
				if got, err := s.Get(t.Context(), p.Ref); err != nil || got.Digest != want.Digest {
					t.Errorf("Get: %+v, %v", got, err)
				}
			}
			n.want(t, "and the store is read-only: rebuilt for this run")
			if changed, err := (&Tiered{Local: s}).Export(t.Context(), want, "", filepath.Join(t.TempDir(), "out")); err != nil || !changed {
				t.Errorf("Export: %t, %v", changed, err)
			}
		})
	}
}

// TestDiskFull pulls into file systems of several sizes, all too small.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	host := registrytest.New(t)
	p, err := withTarball(numbered(0), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := pushed(t, host, p)
	for _, kilobytes := range []int{8, 64, 512, 1020, 1028, 1032, 1036, 1040} {
		t.Run(fmt.Sprintf("%d kB", kilobytes), func(t *testing.T) {
			folder := t.TempDir()
			if err := unix.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%dk", kilobytes)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil { // Entries in use stay open.
					t.Error(err)
				}
			})
			local := newNotes()
			s := Open(folder, local.report)
			r, _, n := connect(t, host)
			tiered := &Tiered{Local: s, Registry: r}
			out := filepath.Join(t.TempDir(), "out")
			if _, err := tiered.Export(t.Context(), want, "", out); !errors.Is(err, syscall.ENOSPC) || IsNotFound(err) {
				t.Fatalf("Export: %v, want no space", err)
			} else if !strings.Contains(err.Error(), "needs room for 1.0 MiB: free some space, or move the cache with --cache-dir") {
				t.Errorf("Export: %v, want how much was needed", err)
			}
			wantMiss(t, s, p.Ref)
			sound(t, s)
			if entries, err := os.ReadDir(partialPath(s.layout("qemu"))); err == nil && len(entries) > 0 {
				t.Errorf("takes room still: %v", entries)
			}
			if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_REMOUNT, "size=16m"); err != nil {
				t.Fatal(err)
			}
			if changed, err := tiered.Export(t.Context(), want, "", out); err != nil || !changed {
				t.Errorf("Export with more room: %t, %v", changed, err)
			}
			same(t, s, want, p)
			n.want(t)
			local.want(t)
		})
	}
}

// TestDistributionRemoval has the distribution's registry, which refuses removal unless it
// is configured, and removes by digest only.
func TestDistributionRemoval(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Setenv("REGISTRY_STORAGE_DELETE_ENABLED", fmt.Sprint(allowed))
		host := registrytest.Distribution(t)
		artifacts := stock(t, host, 2)
		r, _, _ := connect(t, host)
		shelf := shelfOf(t, r)
		gone := slices.DeleteFunc(shelf.Items, func(item Item) bool { return item.Key != artifacts[0].Key })
		_, err := r.Remove(t.Context(), shelf, gone)
		if !allowed {
			if err == nil || !strings.Contains(err.Error(), "storage.delete.enabled") {
				t.Errorf("refused: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		after := shelfOf(t, r)
		if len(after.Items) != 1 || after.Items[0].Key != artifacts[1].Key || after.tags[fallback(artifacts[0].Manifest.Digest())] != "" {
			t.Errorf("left %+v, tags %v", after.Items, after.tags)
		}
	}
}
