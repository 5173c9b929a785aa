package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	orasoci "oras.land/oras-go/v2/content/oci"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// notes collects what a store reports.
type notes struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	report *progress.Reporter
}

func newNotes() *notes {
	n := &notes{}
	n.report = progress.New(n, progress.Plain, nil)
	return n
}

// Write takes a line of the report.
func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buffer.Write(p)
}

// texts are the warnings so far.
func (n *notes) texts() (texts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for line := range strings.Lines(n.buffer.String()) {
		subject, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if subject == "store" || subject == "registry" {
			texts = append(texts, text)
		}
	}
	return texts
}

func (n *notes) want(t *testing.T, parts ...string) {
	t.Helper()
	texts := n.texts()
	if len(texts) != len(parts) {
		t.Fatalf("noted %q, want %d notes", texts, len(parts))
	}
	for i, part := range parts {
		if !strings.Contains(texts[i], part) {
			t.Errorf("noted %q, want %q", texts[i], part)
		}
	}
}

func open(t testing.TB) (*Local, *notes) {
	t.Helper()
	n := newNotes()
	return Open(filepath.Join(t.TempDir(), "store"), n.report), n
}

// noise returns bytes without repetitions, so that tests detect misplaced ones.
func noise(number, size int) []byte {
	data := make([]byte, size)
	// This Read never fails.
	_, _ = rand.NewChaCha8([32]byte{byte(number), byte(number >> 8), byte(number >> 16)}).Read(data)
	return data
}

// sample returns an artifact to put, with its own key and tarball.
func sample(t testing.TB, asset, arch string, number int) Put {
	t.Helper()
	recipe := fmt.Appendf(nil, `{"schema":1,"asset":%q,"arch":%q,"number":%d}`, asset, arch, number)
	sum := sha256.Sum256(recipe)
	tarball := filepath.Join(t.TempDir(), "x.tar.zst")
	if err := os.WriteFile(tarball, tarballOf(number, 200_000), 0o600); err != nil {
		t.Fatal(err)
	}
	return Put{
		Ref:     Ref{Asset: asset, Arch: arch, Key: hex.EncodeToString(sum[:])},
		Tarball: tarball, Recipe: recipe, Record: []byte(`{"base":"mmdebstrap"}`),
	}
}

func put(t testing.TB, s *Local, p Put) Artifact {
	t.Helper()
	artifact, err := s.Put(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

func wantMiss(t *testing.T, s *Local, ref Ref) {
	t.Helper()
	if _, err := s.Get(t.Context(), ref); !IsNotFound(err) {
		t.Errorf("Get: %v, want a miss", err)
	}
}

func TestRoundTrip(t *testing.T) {
	s, n := open(t)
	p := sample(t, "kernel-debug", "x86_64", 1)
	wantMiss(t, s, p.Ref)
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a miss created the folder: %v", err)
	}
	want := put(t, s, p)
	got, err := s.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Get differs from Put (-put +get)\n%s", diff)
	}
	tarball, err := os.ReadFile(p.Tarball)
	if err != nil {
		t.Fatal(err)
	}
	if want := digest.FromBytes(tarball).String(); got.Digest != want || got.Size != int64(len(tarball)) ||
		!bytes.Equal(got.Recipe, p.Recipe) || got.Manifest.Layers[1].Digest != digest.FromBytes(p.Record) {
		t.Errorf("got %+v, want digest %s", got, want)
	}
	out := filepath.Join(t.TempDir(), "build", "out.tar.zst")
	for _, wantChanged := range []bool{true, false} {
		changed, err := (&Tiered{Local: s}).Export(t.Context(), got, "", out)
		if err != nil || changed != wantChanged {
			t.Fatalf("Export: %t, %v; want %t", changed, err, wantChanged)
		}
	}
	spoiled := bytes.Clone(tarball)
	slices.Reverse(spoiled)
	if err := os.WriteFile(out, spoiled, 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, err := (&Tiered{Local: s}).Export(t.Context(), got, "", out); err != nil || !changed {
		t.Errorf("Export over another file: %t, %v; want a change", changed, err)
	}
	if data, err := os.ReadFile(out); err != nil || !bytes.Equal(data, tarball) {
		t.Errorf("the exported tarball differs: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(out)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	n.want(t)
}

func TestLayoutIsStandard(t *testing.T) {
	s, _ := open(t)
	p := sample(t, "kernel-debug", "x86_64", 1)
	first := put(t, s, p)
	put(t, s, sample(t, "kernel-debug", "x86_64", 2))
	again := put(t, s, p)
	if first.Manifest.Digest() != again.Manifest.Digest() {
		t.Errorf("putting the same twice: manifests %s and %s", first.Manifest.Digest(), again.Manifest.Digest())
	}
	root := filepath.Join(s.dir, "kernel-debug")
	standard, err := orasoci.New(root)
	if err != nil {
		t.Fatal(err)
	}
	d, err := standard.Resolve(t.Context(), p.Tag())
	if err != nil {
		t.Fatal(err)
	}
	data, err := content.FetchAll(t.Context(), standard, d)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.golden", append(indented.Bytes(), '\n'))
	more, _ := open(t)
	data, err = os.ReadFile(more.layout("qemu").Path(put(t, more, rich(t, "qemu")).Manifest.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	indented.Reset()
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-outputs.golden", append(indented.Bytes(), '\n'))
	indented.Reset()
	index, err := os.ReadFile(filepath.Join(root, ocispec.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	indented.Reset()
	if err := json.Indent(&indented, index, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "index.golden", append(indented.Bytes(), '\n'))
	var tags []string
	if err := standard.Tags(t.Context(), "", func(page []string) error { tags = append(tags, page...); return nil }); err != nil || len(tags) != 2 {
		t.Errorf("tags %v, %v; want 2", tags, err)
	}
}

func TestBadInput(t *testing.T) {
	s, _ := open(t)
	good := sample(t, "qemu", "x86_64", 1)
	for _, test := range []struct {
		name   string
		change func(p *Put)
		want   string
	}{
		{"asset", func(p *Put) { p.Asset = "../qemu" }, "asset name"},
		{"no asset", func(p *Put) { p.Asset = "" }, "asset name"},
		{"arch", func(p *Put) { p.Arch = "x86/64" }, "arch"},
		{"key", func(p *Put) { p.Key = "abc" }, "want a SHA-256"},
		{"recipe", func(p *Put) { p.Recipe = []byte("{}") }, "not to its key"},
		{"tarball", func(p *Put) { p.Tarball += ".missing" }, "reading the tarball"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := good
			test.change(&p)
			if _, err := s.Put(t.Context(), p); err == nil || !strings.Contains(err.Error(), test.want) || IsNotFound(err) {
				t.Errorf("Put: %v, want %q", err, test.want)
			}
			if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("bad input created the folder: %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("Put after cancel: %v", err)
	}
	if _, err := (&Tiered{Local: s}).Export(t.Context(), Artifact{Ref: good.Ref, Digest: "sha256:../../x"}, "", "x"); err == nil || IsNotFound(err) {
		t.Errorf("Export of a bad digest: %v", err)
	}
}

func TestList(t *testing.T) {
	s, n := open(t)
	if artifacts, err := s.List(t.Context()); err != nil || len(artifacts) != 0 {
		t.Errorf("List of nothing: %v, %v", artifacts, err)
	}
	var want []string
	for i, name := range []string{"qemu aarch64", "kernel x86_64", "qemu x86_64", "kernel-debug x86_64", "kernel aarch64", "kernel x86_64"} {
		asset, arch, _ := strings.Cut(name, " ")
		p := sample(t, asset, arch, i)
		put(t, s, p)
		want = append(want, asset+" "+arch+" "+p.Key)
	}
	slices.Sort(want)
	artifacts, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range artifacts {
		got = append(got, a.Asset+" "+a.Arch+" "+a.Key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List (-want +got)\n%s", diff)
	}
	n.want(t)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got)\n%s", name, diff)
	}
}

// BenchmarkGet looks one artifact up among a thousand.
func BenchmarkGet(b *testing.B) {
	s, _ := open(b)
	p := sample(b, "kernel-debug", "x86_64", 0)
	put(b, s, p)
	l := s.layout(p.Asset)
	d := entryAt(b, l, p.Tag())
	for i := range 999 {
		setEntry(b, l, Ref{Arch: "x86_64", Key: digest.FromString(fmt.Sprint(i)).Encoded()}.Tag(), d)
	}
	for b.Loop() {
		if _, err := s.Get(b.Context(), p.Ref); err != nil {
			b.Fatal(err)
		}
	}
}
