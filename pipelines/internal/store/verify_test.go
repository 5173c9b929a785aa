package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// TestVerify damages each part of a store in turn.
func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, l *oci.Layout, a Artifact)
		want   []string
	}{
		{"nothing", func(*testing.T, *oci.Layout, Artifact) {}, nil},
		{"flipped tarball", func(t *testing.T, l *oci.Layout, a Artifact) { flip(t, l, a.Digest) }, []string{"qemu: blob DIGEST of 200000 bytes hashes to", "TAG has no whole part DIGEST"}},
		{"no tarball", func(t *testing.T, l *oci.Layout, a Artifact) { spoil(t, l, a.Digest, nil) }, []string{"TAG has no whole part DIGEST"}},
		{"no output", func(t *testing.T, l *oci.Layout, a Artifact) { spoil(t, l, a.Outputs[1].Digest, nil) }, []string{"TAG has no whole part"}},
		{"flipped recipe", func(t *testing.T, l *oci.Layout, a Artifact) { flip(t, l, "sha256:"+a.Key) }, []string{"hashes to", "TAG has no whole part"}},
		{"flipped manifest", func(t *testing.T, l *oci.Layout, a Artifact) { flip(t, l, a.Manifest.Digest().String()) }, []string{"hashes to", "TAG has no whole manifest"}},
		{"no manifest", func(t *testing.T, l *oci.Layout, a Artifact) { spoil(t, l, a.Manifest.Digest().String(), nil) }, []string{"TAG has no whole manifest"}},
		{"truncated index", func(t *testing.T, l *oci.Layout, _ Artifact) { write(t, indexPath(l), `{"schema`) }, []string{"qemu: index.json is damaged"}},
		{"no index", func(t *testing.T, l *oci.Layout, _ Artifact) {
			if err := os.Remove(indexPath(l)); err != nil {
				t.Fatal(err)
			}
		}, []string{"qemu: index.json is missing"}},
		{"no blob", func(t *testing.T, l *oci.Layout, _ Artifact) {
			write(t, filepath.Join(l.Root, "blobs", "sha256", "x"), "x")
		}, []string{"is not a blob"}},
		{"other key", func(t *testing.T, l *oci.Layout, a Artifact) {
			entry := entryAt(t, l, a.Tag())
			a.Key = digest.FromString("other").Encoded()
			setEntry(t, l, a.Tag(), entry)
		}, []string{"is the manifest of "}},
		{"left by a killed pull", func(t *testing.T, l *oci.Layout, a Artifact) {
			if err := os.MkdirAll(partialPath(l), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(partialPath(l), a.Key), "x")
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, n := open(t)
			if lines, err := s.Verify(t.Context()); err != nil || lines != nil {
				t.Errorf("Verify of nothing: %q, %v", lines, err)
			}
			p := rich(t, "qemu")
			artifact := put(t, s, p)
			put(t, s, sample(t, "ovmf", "x86_64", 2))
			test.damage(t, s.layout("qemu"), artifact)
			lines, err := s.Verify(t.Context())
			if err != nil || len(lines) != len(test.want) {
				t.Fatalf("Verify: %q, %v; want %q", lines, err, test.want)
			}
			for i, want := range test.want {
				want = strings.NewReplacer("DIGEST", artifact.Digest, "TAG", artifact.Tag()).Replace(want)
				if !strings.Contains(lines[i], want) {
					t.Errorf("Verify: %q, want %q", lines[i], want)
				}
			}
			n.want(t)
		})
	}
}

func flip(t *testing.T, l *oci.Layout, d string) {
	t.Helper()
	data, err := os.ReadFile(l.Path(digest.Digest(d)))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	spoil(t, l, d, data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAbandonedPartials makes sure that abandoned partial blobs are removed.
func TestAbandonedPartials(t *testing.T) {
	s, _ := open(t)
	put(t, s, sample(t, "qemu", "x86_64", 1))
	folder := partialPath(s.layout("qemu"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old", "resumed", "young"} {
		write(t, filepath.Join(folder, name), "x")
		if name == "young" {
			continue
		}
		if err := os.Chtimes(filepath.Join(folder, name), fixed, fixed); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		t.Helper()
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
	// Another process is about to resume this one.
	unlock, err := files.TryLock(filepath.Join(s.layout("qemu").Locks, "blob-re"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, sample(t, "qemu", "x86_64", 2))
	if diff := cmp.Diff([]string{"resumed", "young"}, left()); diff != "" {
		t.Errorf("left (-want +got)\n%s", diff)
	}
	unlock()
	put(t, s, sample(t, "qemu", "x86_64", 3))
	if diff := cmp.Diff([]string{"young"}, left()); diff != "" {
		t.Errorf("left (-want +got)\n%s", diff)
	}
}
