package store

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

var builderID = strings.Repeat("b", 64)

// image writes an OCI archive with two layers, like an engine, and returns its path.
func image(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	add := func(name string, data []byte) {
		if err := archive.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		add("blobs/sha256/"+d.Digest.Encoded(), data)
		return d
	}
	encode := func(value any) []byte {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Annotations: map[string]string{"of": "the engine"}}
	m.SchemaVersion = 2
	for i := range 2 {
		m.Layers = append(m.Layers, blob(ocispec.MediaTypeImageLayerZstd, bytes.Repeat([]byte(fmt.Sprintf("layer %d of %s\n", i, content)), 5000)))
	}
	m.Config = blob(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux"}`))
	manifest := blob(ocispec.MediaTypeImageManifest, encode(m))
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{manifest}}
	add(ocispec.ImageIndexFile, encode(index))
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func newBuilders(t *testing.T, registry *Registry) (*Builders, *notes) {
	t.Helper()
	s, n := open(t)
	return &Builders{Local: s, Registry: registry}, n
}

// has reports whether a note contains a text.
func (n *notes) has(part string) bool {
	return strings.Contains(strings.Join(n.texts(), "\n"), part)
}

func putBuilder(t *testing.T, b *Builders, content string) Image {
	t.Helper()
	made, err := b.Put(t.Context(), Image{ID: builderID, Arch: "x86_64", Base: "debian@sha256:1"}, image(t, content))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// get gets the builder and returns the bytes of its archive.
func getBuilder(t *testing.T, b *Builders, want Image, wantWhere string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "got.tar")
	got, where, err := b.Get(t.Context(), want.ID, want.Arch, path)
	if err != nil {
		t.Fatal(err)
	}
	if got != want || where != wantWhere {
		t.Errorf("got %+v from %q, want %+v from %q", got, where, want, wantWhere)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func missBuilder(t *testing.T, b *Builders) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "got.tar")
	if _, _, err := b.Get(t.Context(), builderID, "x86_64", path); !IsNotFound(err) {
		t.Errorf("error %v, want a miss", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a miss left a file: %v", err)
	}
}

func TestBuilders(t *testing.T) {
	b, _ := newBuilders(t, nil)
	missBuilder(t, b)
	made := putBuilder(t, b, "one")
	if made.Base != "debian@sha256:1" || digest.Digest(made.Digest).Validate() != nil {
		t.Fatalf("put %+v", made)
	}
	first := getBuilder(t, b, made, InLocal)
	if second := getBuilder(t, b, made, InLocal); !bytes.Equal(first, second) {
		t.Error("the archive differs from time to time, so that an engine would not know it again")
	}
	path := filepath.Join(t.TempDir(), "again.tar")
	if err := os.WriteFile(path, first, 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m, blobs, err := oci.ReadArchive(file)
	if err != nil || len(m.Layers) != 2 || m.Annotations[idAnnotation] != builderID || m.Annotations["of"] != "" {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	for _, b := range blobs {
		content, err := b.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err != nil || digest.FromBytes(data) != b.Digest {
			t.Errorf("%s has the content %s, %v", b.Digest, digest.FromBytes(data), err)
		}
	}
	if _, _, err := b.Find(t.Context(), builderID, "aarch64"); !IsNotFound(err) {
		t.Errorf("another architecture: %v", err)
	}
	if artifacts, err := b.Local.List(t.Context()); err != nil || len(artifacts) != 0 {
		t.Errorf("a builder is listed as an artifact: %v, %v", artifacts, err)
	}
	if damage, err := b.Local.Verify(t.Context()); err != nil || len(damage) != 0 {
		t.Errorf("verified: %q, %v", damage, err)
	}
}

func TestForeignArchives(t *testing.T) {
	b, _ := newBuilders(t, nil)
	whole, err := os.ReadFile(image(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"no tar": []byte(strings.Repeat("no tar", 1000)), "empty": nil, "cut": whole[:len(whole)/2],
	} {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), Image{ID: builderID, Arch: "x86_64"}, path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	missBuilder(t, b)
}

// blobPath returns where the local store has the largest or the smallest blob.
func blobPath(t *testing.T, b *Builders, mediaType string) string {
	t.Helper()
	l := b.Local.layout(builderRepository)
	e, err := l.Manifest(t.Context(), builderID)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append(e.Parts(), e.Descriptor()) {
		if part.MediaType == mediaType {
			return l.Path(part.Digest)
		}
	}
	t.Fatalf("no part of type %s", mediaType)
	return ""
}

func TestDamagedBuilders(t *testing.T) {
	overwrite := func(t *testing.T, path string, data []byte) {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(t *testing.T, b *Builders){
		"other bytes": func(t *testing.T, b *Builders) {
			path := blobPath(t, b, ocispec.MediaTypeImageLayerZstd)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			overwrite(t, path, data)
		},
		"short layer": func(t *testing.T, b *Builders) {
			overwrite(t, blobPath(t, b, ocispec.MediaTypeImageLayerZstd), []byte("short"))
		},
		"lost config": func(t *testing.T, b *Builders) {
			if err := os.Remove(blobPath(t, b, ocispec.MediaTypeImageConfig)); err != nil {
				t.Fatal(err)
			}
		},
		"manifest": func(t *testing.T, b *Builders) {
			overwrite(t, blobPath(t, b, ocispec.MediaTypeImageManifest), []byte("{}"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			registry, _, _ := connect(t, host)
			b, notes := newBuilders(t, registry)
			made := putBuilder(t, b, "one")
			if _, err := b.Publish(t.Context(), builderID, "x86_64"); err != nil {
				t.Fatal(err)
			}
			want := getBuilder(t, b, made, InLocal)
			damage(t, b)
			if got := getBuilder(t, b, made, InRegistry); !bytes.Equal(got, want) {
				t.Error("what came from the registry differs")
			}
			getBuilder(t, b, made, InLocal)
			damage(t, b)
			b.Registry = nil
			missBuilder(t, b)
			if !notes.has("the stored builder bbbbbbbbbbbb: ") {
				t.Errorf("noted %q", notes.texts())
			}
			if again := putBuilder(t, b, "one"); again != made {
				t.Errorf("made again: %+v, want %+v", again, made)
			}
			getBuilder(t, b, made, InLocal)
		})
	}
	t.Run("index", func(t *testing.T) {
		b, notes := newBuilders(t, nil)
		made := putBuilder(t, b, "one")
		overwrite(t, indexPath(b.Local.layout(builderRepository)), []byte(`{"schemaVersion":`))
		getBuilder(t, b, made, InLocal)
		if !notes.has("kept as index.json.damaged and rebuilt") {
			t.Errorf("noted %q", notes.texts())
		}
		sound(t, b.Local)
		if err := os.Remove(blobPath(t, b, ocispec.MediaTypeImageConfig)); err != nil {
			t.Fatal(err)
		}
		overwrite(t, indexPath(b.Local.layout(builderRepository)), nil)
		missBuilder(t, b)
	})
}

func TestBuildersOfARegistry(t *testing.T) {
	host := registrytest.New(t)
	registry, _, _ := connect(t, host)
	b, _ := newBuilders(t, registry)
	made := putBuilder(t, b, "one")
	for _, want := range []bool{true, false} {
		if pushed, err := b.Publish(t.Context(), builderID, "x86_64"); err != nil || pushed != want {
			t.Errorf("pushed %t, %v, want %t", pushed, err, want)
		}
	}
	other, _ := newBuilders(t, registry)
	if _, where, err := other.Find(t.Context(), builderID, "x86_64"); err != nil || where != InRegistry {
		t.Errorf("found in %q, %v", where, err)
	}
	first := getBuilder(t, other, made, InRegistry)
	other.Registry = nil
	if second := getBuilder(t, other, made, InLocal); !bytes.Equal(first, second) {
		t.Error("the archive differs from the one that was just pulled")
	}
	// The first push wins, so that all machines have the same builder.
	third, _ := newBuilders(t, registry)
	if putBuilder(t, third, "two") == made {
		t.Fatal("two images have the same digest")
	}
	if pushed, err := third.Publish(t.Context(), builderID, "x86_64"); err != nil || pushed {
		t.Errorf("a second builder: pushed %t, %v", pushed, err)
	}
	fourth, _ := newBuilders(t, registry)
	getBuilder(t, fourth, made, InRegistry)
}

func TestFaultyBuilders(t *testing.T) {
	host := registrytest.New(t)
	whole, _, _ := connect(t, host)
	b, _ := newBuilders(t, whole)
	made := putBuilder(t, b, "one")
	if _, err := b.Publish(t.Context(), builderID, "x86_64"); err != nil {
		t.Fatal(err)
	}
	const blobs, manifests = "/cache/builder/blobs/", "/cache/builder/manifests/"
	for name, test := range map[string]struct {
		rule registrytest.Rule
		note string
		hit  bool
	}{
		"503 forever":    {registrytest.Rule{Path: manifests, Do: registrytest.Status(503)}, "continuing without", false},
		"503 once":       {registrytest.Rule{Path: manifests, Nth: 1, Do: registrytest.Status(503)}, "", true},
		"down":           {registrytest.Rule{Do: registrytest.Refuse()}, "connection refused", false},
		"401":            {registrytest.Rule{Path: manifests, Do: registrytest.Status(401)}, "denied access", false},
		"reset":          {registrytest.Rule{Method: "GET", Path: blobs, Nth: 2, Do: registrytest.Reset(5000)}, "resuming", true},
		"wrong bytes":    {registrytest.Rule{Method: "GET", Path: blobs, Do: registrytest.Wrong(10)}, ": it has a blob", false},
		"truncated":      {registrytest.Rule{Method: "GET", Path: blobs, Do: registrytest.Truncate(10)}, ": it has the blob", false},
		"wrong manifest": {registrytest.Rule{Method: "GET", Path: manifests, Do: registrytest.Wrong(10)}, "ignoring the builder bbbbbbbbbbbb in ", false},
	} {
		t.Run(name, func(t *testing.T) {
			registry, _, notes := connect(t, host, test.rule)
			b, _ := newBuilders(t, registry)
			if test.hit {
				getBuilder(t, b, made, InRegistry)
			} else {
				missBuilder(t, b)
			}
			if test.note != "" && !notes.has(test.note) {
				t.Errorf("noted %q, want %q", notes.texts(), test.note)
			}
			// The next run resumes the download.
			b.Registry = whole
			b.Local = Open(b.Local.dir, notes.report)
			where := InRegistry
			if test.hit {
				where = InLocal
			}
			getBuilder(t, b, made, where)
		})
	}
}

func TestBuilderLock(t *testing.T) {
	b, notes := newBuilders(t, nil)
	unlock, err := b.Lock(t.Context(), builderID, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, unlock)
	second, err := b.Lock(t.Context(), builderID, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	second()
	if !notes.has("waiting for another build that makes the same builder") {
		t.Errorf("noted %q", notes.texts())
	}
	if _, err := b.Lock(t.Context(), "../x", "x86_64"); err == nil {
		t.Error("an ID that is none was locked")
	}
}
