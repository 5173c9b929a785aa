package store

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestVerifyShared damages sources and builders in the registry.
func TestVerifyShared(t *testing.T) {
	host := registrytest.New(t)
	whole, _, _ := connect(t, host)
	if _, lines, err := whole.Verify(t.Context(), nil, scratch(t)); err != nil || lines != nil {
		t.Errorf("an empty registry: %q, %v", lines, err)
	}
	path, hash := sourceFile(t)
	module := "h1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for _, hash := range []string{hash, module} {
		if _, err := whole.PushSource(t.Context(), hash, "linux.tar", path); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := newBuilders(t, whole)
	putBuilder(t, b, "one")
	if _, err := b.Publish(t.Context(), builderID, "x86_64"); err != nil {
		t.Fatal(err)
	}
	layer := filepath.Base(blobPath(t, b, ocispec.MediaTypeImageLayerZstd))
	source := digest.FromBytes(archived).Encoded()
	for name, test := range map[string]struct {
		rules []registrytest.Rule
		want  []string
		fails string
	}{
		"whole": {nil, nil, ""},
		"wrong source": {[]registrytest.Rule{{Method: "GET", Path: "/sources/blobs/sha256:" + source, Do: registrytest.Wrong(9)}},
			[]string{"source h1:BwcH", "source sha256:" + source + ": the registry " + host + "/kata/cache has a blob"}, ""},
		"lost layer": {[]registrytest.Rule{{Method: "GET", Path: "/builder/blobs/sha256:" + layer, Do: registrytest.Status(404)}},
			[]string{"builder bbbbbbbbbbbb: the registry " + host + "/kata/cache lacks the blob sha256:" + layer}, ""},
		"403":  {[]registrytest.Rule{{Method: "GET", Path: "/sources/blobs/", Do: registrytest.Status(403)}}, nil, "docker login"},
		"down": {[]registrytest.Rule{{Do: registrytest.Refuse()}}, nil, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := connect(t, host, test.rules...)
			_, lines, err := r.Verify(t.Context(), nil, scratch(t))
			if test.fails != "" {
				if err == nil || IsDamage(err) || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("error %v, want %q", err, test.fails)
				}
				return
			}
			if err != nil || len(lines) != len(test.want) {
				t.Fatalf("got %q, %v", lines, err)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got %q, want %q", lines[i], want)
				}
			}
		})
	}
}

// TestSharedIsHealed has a source and a builder that turn out to be damaged in the
// registry: a push sends them again, and reads them to be sure.
func TestSharedIsHealed(t *testing.T) {
	for name, nth := range map[string]int{"healed": 1, "stays": 0} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			whole, _, _ := connect(t, host)
			path, hash := sourceFile(t)
			if _, err := whole.PushSource(t.Context(), hash, "linux.tar", path); err != nil {
				t.Fatal(err)
			}
			b, _ := newBuilders(t, whole)
			made := putBuilder(t, b, "one")
			if _, err := b.Publish(t.Context(), builderID, "x86_64"); err != nil {
				t.Fatal(err)
			}
			layer := "sha256:" + filepath.Base(blobPath(t, b, ocispec.MediaTypeImageLayerZstd))
			r, _, _ := connect(t, host,
				registrytest.Rule{Method: "GET", Path: hash, Nth: nth, Do: registrytest.Wrong(9)},
				registrytest.Rule{Method: "GET", Path: layer, Nth: nth, Do: registrytest.Wrong(9)})
			to := filepath.Join(t.TempDir(), "got")
			if err := r.PullSource(t.Context(), hash, to, nil); !IsNotFound(err) {
				t.Fatalf("PullSource: %v, want a miss", err)
			}
			if _, err := r.FindSource(t.Context(), hash); !IsNotFound(err) {
				t.Errorf("FindSource: %v, want a miss", err)
			}
			other, _ := newBuilders(t, r)
			missBuilder(t, other)
			b.Registry = r
			check := func(what, blob string, pushed bool, err error) {
				t.Helper()
				switch {
				case nth == 1 && (err != nil || !pushed):
					t.Errorf("%s: pushed %t, %v", what, pushed, err)
				case nth == 0 && (err == nil || IsNotFound(err) || !strings.Contains(err.Error(), "accepted the blob "+blob)):
					t.Errorf("%s: pushed %t, %v; want the blob to delete", what, pushed, err)
				}
			}
			sent, err := r.PushSource(t.Context(), hash, "linux.tar", path)
			check("source", hash, sent, err)
			sent, err = b.Publish(t.Context(), builderID, "x86_64")
			check("builder", layer, sent, err)
			if nth == 0 {
				return
			}
			if err := r.PullSource(t.Context(), hash, to, nil); err != nil {
				t.Errorf("PullSource: %v", err)
			}
			getBuilder(t, other, made, InRegistry)
			if sent, err := r.PushSource(t.Context(), hash, "linux.tar", path); err != nil || sent {
				t.Errorf("the push after: %t, %v", sent, err)
			}
		})
	}
}

func TestPublishFaults(t *testing.T) {
	for name, test := range map[string]struct {
		rule registrytest.Rule
		want string
	}{
		"401":   {registrytest.Rule{Method: "POST", Do: registrytest.Status(401)}, "docker login"},
		"507":   {registrytest.Rule{Method: "PUT", Do: registrytest.Status(507)}, "507"},
		"down":  {registrytest.Rule{Do: registrytest.Refuse()}, "connection refused"},
		"reset": {registrytest.Rule{Method: "PUT", Path: "/blobs/", Nth: 1, Do: registrytest.ResetBody(1000)}, ""},
		"503":   {registrytest.Rule{Method: "PUT", Path: "/blobs/", Nth: 1, Do: registrytest.Status(503, "Retry-After", "0")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			registry, _, _ := connect(t, host, test.rule)
			b, _ := newBuilders(t, registry)
			made := putBuilder(t, b, "one")
			pushed, err := b.Publish(t.Context(), builderID, "x86_64")
			if test.want == "" {
				if err != nil || !pushed {
					t.Fatalf("pushed %t, %v", pushed, err)
				}
				other, _ := newBuilders(t, registry)
				getBuilder(t, other, made, InRegistry)
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			whole, _, _ := connect(t, host)
			other, _ := newBuilders(t, whole)
			missBuilder(t, other)
		})
	}
}

// TestOneBadBlob has one artifact, one source and one builder that cannot be read: the
// registry is still used for others.
func TestOneBadBlob(t *testing.T) {
	for name, do := range map[string]registrytest.Action{"403": registrytest.Status(403), "breaks off": registrytest.Reset(10)} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			bad, good := sample(t, "qemu", "x86_64", 1), sample(t, "ovmf", "x86_64", 2)
			first, second := pushed(t, host, bad), pushed(t, host, good)
			whole, _, _ := connect(t, host)
			path, hash := sourceFile(t)
			if _, err := whole.PushSource(t.Context(), hash, "linux.tar", path); err != nil {
				t.Fatal(err)
			}
			r, _, n := connect(t, host, registrytest.Rule{Method: "GET", Path: first.Digest, Do: do}, registrytest.Rule{Method: "GET", Path: "/sources/blobs/", Do: do})
			s, _ := open(t)
			tiered := &Tiered{Local: s, Registry: r}
			out := filepath.Join(t.TempDir(), "out")
			if _, err := tiered.Export(t.Context(), first, "", out); !IsNotFound(err) {
				t.Errorf("Export: %v, want a miss", err)
			}
			if err := r.PullSource(t.Context(), hash, out, nil); !IsNotFound(err) {
				t.Errorf("PullSource: %v, want a miss", err)
			}
			for _, want := range []string{"continuing without the artifact " + bad.Tag() + " of qemu", "continuing without the source " + hash} {
				if !n.has(want) {
					t.Errorf("noted %q, want %q", n.texts(), want)
				}
			}
			if _, err := tiered.Get(t.Context(), bad.Ref); !IsNotFound(err) {
				t.Errorf("Get: %v, want a miss", err)
			}
			if changed, err := tiered.Export(t.Context(), second, "", out); err != nil || !changed {
				t.Errorf("Export of another: %t, %v", changed, err)
			}
			same(t, s, second, good)
		})
	}
}

func TestIsDamage(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	for name, test := range map[string]struct {
		do   registrytest.Action
		want bool
	}{
		"wrong": {registrytest.Wrong(7), true}, "lost": {registrytest.Status(404), true}, "short": {registrytest.Truncate(9), true},
		"403": {registrytest.Status(403), false}, "breaks off": {registrytest.Reset(9), false}, "down": {registrytest.Refuse(), false},
	} {
		r, _, _ := connect(t, host, registrytest.Rule{Method: "GET", Path: want.Digest, Do: test.do})
		if err := verified(t, r, p.Ref); err == nil || IsDamage(err) != test.want {
			t.Errorf("%s: %v, want damage: %t", name, err, test.want)
		}
	}
}

// TestKilledExports makes sure that temporary files of killed exports are removed, and
// those of running exports and other files are not.
func TestKilledExports(t *testing.T) {
	s, n := open(t)
	artifact := put(t, s, sample(t, "qemu", "x86_64", 1))
	folder := t.TempDir()
	left := map[string]bool{".out.tmp123": false, ".out": true, ".out.tmp123x": true, ".other.tmp123": true, "my-out.tmp123": true}
	for name := range left {
		write(t, filepath.Join(folder, name), "x")
	}
	alive, err := files.Create(filepath.Join(folder, "out"), 0o644) // Another export is writing it.
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Discard()
	left[filepath.Base(alive.Name())] = true
	if _, err := (&Tiered{Local: s}).Export(t.Context(), artifact, "", filepath.Join(folder, "out")); err != nil {
		t.Fatal(err)
	}
	for name, stays := range left {
		if _, err := os.Stat(filepath.Join(folder, name)); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %t", name, err, stays)
		}
	}
	n.want(t)
}

// TestFewLocks guards against a lock file for every pulled blob.
func TestFewLocks(t *testing.T) {
	host := registrytest.New(t)
	p := rich(t, "qemu")
	pushed(t, host, p)
	r, _, _ := connect(t, host)
	s, _ := open(t)
	if _, err := r.Pull(t.Context(), p.Ref, s); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, locksFolder, "qemu"))
	if err != nil || len(entries) < 2 {
		t.Fatalf("locks: %v, %v", entries, err)
	}
	for _, entry := range entries {
		if name, found := strings.CutPrefix(entry.Name(), "blob-"); found && len(name) != 2 {
			t.Errorf("%s: want one of at most 256", entry.Name())
		}
	}
}
