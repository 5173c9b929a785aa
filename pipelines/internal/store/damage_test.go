package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	"oras.land/oras-go/v2/content"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// spoil replaces a blob, or removes it if data is nil.
func spoil(t *testing.T, l *oci.Layout, d string, data []byte) {
	t.Helper()
	path := l.Path(digest.Digest(d))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if data == nil {
		return
	}
	if err := os.WriteFile(path, data, 0o444); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedTarball(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(tarball []byte) []byte
		// seen is the note of Get, or "" if only Export detects the damage.
		seen, found string
	}{
		{"flipped", func(b []byte) []byte { b[77] ^= 1; return b }, "", "hashes to"},
		{"truncated", func(b []byte) []byte { return b[:len(b)/2] }, "has a tarball of", "bytes, want"},
		{"missing", func([]byte) []byte { return nil }, "has lost its tarball", "is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, n := open(t)
			p := sample(t, "qemu", "x86_64", 1)
			artifact := put(t, s, p)
			tarball, err := os.ReadFile(p.Tarball)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, s.layout("qemu"), artifact.Digest, test.damage(bytes.Clone(tarball)))
			var notes []string
			if test.seen != "" {
				wantMiss(t, s, p.Ref)
				wantMiss(t, s, p.Ref)
				notes = append(notes, test.seen)
			}
			out := filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(out, []byte("earlier"), 0o644); err != nil {
				t.Fatal(err)
			}
			if changed, err := (&Tiered{Local: s}).Export(t.Context(), artifact, "", out); changed || !IsNotFound(err) {
				t.Errorf("Export: %t, %v; want a miss", changed, err)
			}
			n.want(t, append(notes, test.found)...)
			if data, err := os.ReadFile(out); err != nil || string(data) != "earlier" {
				t.Errorf("Export left %q, %v", data, err)
			}
			if entries, err := os.ReadDir(filepath.Dir(out)); err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
			if _, err := os.Stat(s.layout("qemu").Path(digest.Digest(artifact.Digest))); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the damaged tarball is still there: %v", err)
			}
			wantMiss(t, s, p.Ref)
			n.want(t, append(notes, test.found)...)
			again := put(t, s, p)
			if changed, err := (&Tiered{Local: s}).Export(t.Context(), again, "", out); err != nil || !changed {
				t.Errorf("Export after a new Put: %t, %v", changed, err)
			}
		})
	}
}

// TestExportSparesARepair guards against removing an intact tarball that another process
// has stored while this one read the damaged one.
func TestExportSparesARepair(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	artifact := put(t, s, p)
	l := s.layout("qemu")
	spoil(t, l, artifact.Digest, []byte("bad"))
	put(t, s, p)
	if err := l.Drop(t.Context(), p.Tag(), artifact.Manifest.Digest(), artifact.Manifest.Layers[0]); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), p.Ref); err != nil {
		t.Errorf("the repaired artifact is gone: %v", err)
	}
}

func TestDamagedParts(t *testing.T) {
	s, n := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := put(t, s, p)
	for _, d := range []string{want.Manifest.Digest().String(), "sha256:" + p.Key, digest.FromBytes(p.Record).String()} {
		for _, data := range [][]byte{nil, {}, []byte("{}"), bytes.Repeat([]byte("{"), 5000)} {
			spoil(t, s.layout("qemu"), d, data)
			wantMiss(t, s, p.Ref)
			if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("List: %v, %v; want none", list, err)
			}
			// A damaged blob must not prevent its repair.
			if got := put(t, s, p); !cmp.Equal(want, got) {
				t.Errorf("Put again: %+v, want %+v", got, want)
			}
			if _, err := s.Get(t.Context(), p.Ref); err != nil {
				t.Errorf("after the repair: %v", err)
			}
		}
	}
	if len(n.texts()) == 0 {
		t.Error("nothing was noted")
	}
}

func TestForeignManifest(t *testing.T) {
	s, n := open(t)
	p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	put(t, s, p)
	artifact := put(t, s, other)
	l := s.layout("qemu")
	place := func(d ocispec.Descriptor, data []byte) {
		t.Helper()
		if data != nil {
			if err := os.WriteFile(l.Path(d.Digest), data, 0o444); err != nil {
				t.Fatal(err)
			}
		}
		setEntry(t, l, p.Tag(), d)
	}
	image, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/x", Config: ocispec.DescriptorEmptyJSON})
	if err != nil {
		t.Fatal(err)
	}
	place(content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, image), image)
	wantMiss(t, s, p.Ref)
	ours, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Config: ocispec.DescriptorEmptyJSON})
	if err != nil {
		t.Fatal(err)
	}
	place(content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, ours), ours)
	wantMiss(t, s, p.Ref)
	entry := entryAt(t, l, other.Tag())
	place(ocispec.Descriptor{MediaType: entry.MediaType, Digest: artifact.Manifest.Digest(), Size: entry.Size}, nil)
	wantMiss(t, s, p.Ref)
	n.want(t, "foreign manifest", "has 0 layers", "key "+other.Key)
	put(t, s, p)
	if _, err := s.Get(t.Context(), p.Ref); err != nil {
		t.Errorf("after Put: %v", err)
	}
}

func TestDamagedIndex(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(path string, data []byte) error
		notes []string
	}{
		{"truncated", func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)/2], 0o644) }, []string{"kept as index.json.damaged and rebuilt"}},
		{"empty", func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o644) }, []string{"rebuilt"}},
		{"other JSON", func(path string, _ []byte) error { return os.WriteFile(path, []byte(`{"a":1}`), 0o644) }, []string{"schemaVersion"}},
		{"huge", func(path string, _ []byte) error { return os.Truncate(path, 64<<20+1) }, []string{"has 67108865 bytes, more than 67108864): kept as index.json.damaged and rebuilt"}},
		{"missing", func(path string, _ []byte) error { return os.Remove(path) }, nil},
		{"a link", func(path string, data []byte) error {
			return errors.Join(os.WriteFile(path+".real", data, 0o644), os.Remove(path), os.Symlink(path+".real", path))
		}, []string{"is a symbolic link, not a regular file): kept as index.json.damaged and rebuilt"}},
		{"a folder", func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
		}, []string{"is a folder, not a regular file): kept as index.json.damaged and rebuilt"}},
		{"a pipe", func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644))
		}, []string{"is a named pipe, not a regular file): kept as index.json.damaged and rebuilt"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, n := open(t)
			old, p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "aarch64", 2)
			old.Record = []byte(`{"older":true}`)
			superseded := put(t, s, old)
			put(t, s, p)
			put(t, s, other)
			l := s.layout("qemu")
			past := l.Path(superseded.Manifest.Digest())
			if err := os.Chtimes(past, fixed, fixed); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(indexPath(l))
			if err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(indexPath(l), bytes.Clone(want)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), p.Ref); err != nil {
				t.Errorf("Get: %v", err)
			}
			// A blob does not say where it is from.
			want = bytes.ReplaceAll(want, []byte(`"io.katacontainers.origin":"built here",`), nil)
			got, err := os.ReadFile(indexPath(l))
			if err != nil || !bytes.Equal(want, got) {
				t.Errorf("rebuilt as %.999s, %v; want %s", got, err, want)
			}
			n.want(t, test.notes...)
		})
	}
}
