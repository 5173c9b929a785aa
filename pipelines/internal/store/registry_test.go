package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// quick is a pace for tests.
var quick = web.Pace{Tries: 4, First: time.Millisecond, Longest: 50 * time.Millisecond, Stall: 300 * time.Millisecond}

// connect opens the registry of a host, with faults.
func connect(t testing.TB, host string, rules ...registrytest.Rule) (*Registry, *registrytest.Faults, *notes) {
	t.Helper()
	return connectAt(t, host, quick, rules...)
}

func connectAt(t testing.TB, host string, pace web.Pace, rules ...registrytest.Rule) (*Registry, *registrytest.Faults, *notes) {
	t.Helper()
	faults, n := &registrytest.Faults{Rules: rules}, newNotes()
	r, err := OpenRegistry(host+"/kata/cache", oci.Options{Report: n.report, Transport: faults, Pace: pace})
	if err != nil {
		t.Fatal(err)
	}
	return r, faults, n
}

// rich returns a sample with secondary outputs.
func rich(t testing.TB, asset string) Put {
	t.Helper()
	p := sample(t, asset, "x86_64", 1)
	p.Outputs = map[string]string{}
	for i, name := range []string{"modules", "headers"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, tarballOf(100+i, 21_007), 0o644); err != nil {
			t.Fatal(err)
		}
		p.Outputs[name] = path
	}
	return p
}

// pushed puts an artifact into a store of its own and pushes it.
func pushed(t testing.TB, host string, p Put, tags ...string) Artifact {
	t.Helper()
	s, _ := open(t)
	artifact := put(t, s, p)
	r, _, _ := connect(t, host)
	if err := r.Push(t.Context(), p.Ref, s, tags); err != nil {
		t.Fatal(err)
	}
	return artifact
}

// sound makes sure that nothing in a store is damaged.
func sound(t *testing.T, s *Local) {
	t.Helper()
	if lines, err := s.Verify(t.Context()); err != nil || len(lines) > 0 {
		t.Errorf("Verify: %q, %v", lines, err)
	}
}

// same makes sure that the store has an artifact, and exports all of it.
func same(t *testing.T, s *Local, want Artifact, p Put) {
	t.Helper()
	got, err := s.Get(t.Context(), p.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the artifact differs (-want +got)\n%s", diff)
	}
	paths := map[string]string{"": p.Tarball}
	for name, path := range p.Outputs {
		paths[name] = path
	}
	for name, path := range paths {
		out := filepath.Join(t.TempDir(), "out")
		if changed, err := (&Tiered{Local: s}).Export(t.Context(), got, name, out); err != nil || !changed {
			t.Fatalf("Export %q: %t, %v", name, changed, err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(out); err != nil || !bytes.Equal(want, data) {
			t.Errorf("output %q differs: %v", name, err)
		}
	}
	sound(t, s)
}

// manifestOnly removes from an artifact the fields that a lookup does not set.
func manifestOnly(a Artifact) Artifact {
	a.Recipe = nil
	return a
}

func TestRegistryRoundTrip(t *testing.T) { roundTrip(t, registrytest.New(t)) }

func roundTrip(t *testing.T, host string) {
	p, other := rich(t, "kernel-debug"), sample(t, "kernel-debug", "aarch64", 2)
	r, faults, n := connect(t, host)
	if _, err := r.Lookup(t.Context(), p.Ref); !IsNotFound(err) {
		t.Errorf("Lookup in an empty registry: %v", err)
	}
	if list, err := r.List(t.Context(), p.Asset); err != nil || len(list) > 0 {
		t.Errorf("List of an empty registry: %v, %v", list, err)
	}
	if err := verified(t, r, p.Ref); !IsNotFound(err) {
		t.Errorf("Verify of nothing: %v", err)
	}
	moving := MovingTag("latest", "feature/ä", p.Arch)
	want := pushed(t, host, p, moving, "v1")
	wantOther := pushed(t, host, other)
	if got, err := r.Lookup(t.Context(), p.Ref); err != nil || !cmp.Equal(manifestOnly(want), got) {
		t.Errorf("Lookup: %v\n%s", err, cmp.Diff(manifestOnly(want), got))
	}
	latest := manifestOnly(want)
	latest.Recipe = p.Recipe
	for _, tag := range []string{moving, "v1"} {
		if got, err := r.Latest(t.Context(), p.Asset, tag); err != nil || !cmp.Equal(latest, got) {
			t.Errorf("Latest %s: %v\n%s", tag, err, cmp.Diff(latest, got))
		}
	}
	if _, err := r.Latest(t.Context(), p.Asset, "v2"); !IsNotFound(err) {
		t.Errorf("Latest of no tag: %v", err)
	}
	list, err := r.List(t.Context(), p.Asset)
	if diff := cmp.Diff([]Artifact{manifestOnly(wantOther), manifestOnly(want)}, list); err != nil || diff != "" {
		t.Errorf("List: %v\n%s", err, diff)
	}
	into, notes := open(t)
	for range 2 {
		if got, err := r.Pull(t.Context(), p.Ref, into); err != nil || !cmp.Equal(want, got) {
			t.Fatalf("Pull: %v\n%s", err, cmp.Diff(want, got))
		}
		same(t, into, want, p)
	}
	if err := verified(t, r, p.Ref); err != nil {
		t.Errorf("Verify: %v", err)
	}
	seen := map[string]int{}
	for _, request := range faults.Requests() {
		seen[request]++
	}
	if blob := "GET /v2/kata/cache/kernel-debug/blobs/" + want.Digest; seen[blob] != 2 {
		t.Errorf("%d requests of the tarball, want one by Pull and one by Verify", seen[blob])
	}
	n.want(t)
	notes.want(t)
}

// TestLookupIsOneRequest makes sure that a hit or a miss reads one manifest and nothing
// else.
func TestLookupIsOneRequest(t *testing.T) { lookupIsOneRequest(t, registrytest.New(t)) }

func lookupIsOneRequest(t *testing.T, host string) {
	p := rich(t, "qemu")
	want := pushed(t, host, p)
	count := &counter{}
	faults := &registrytest.Faults{Base: count.Transport()}
	r, err := OpenRegistry(host+"/kata/cache", oci.Options{Transport: faults})
	if err != nil {
		t.Fatal(err)
	}
	if n := count.Connections.Load(); n != 0 {
		t.Errorf("OpenRegistry opened %d connections", n)
	}
	missing := p.Ref
	missing.Key = strings.Repeat("0", 64)
	if _, err := r.Lookup(t.Context(), missing); !IsNotFound(err) {
		t.Errorf("Lookup: %v, want a miss", err)
	}
	read := count.Read.Load()
	t.Logf("a miss read %d bytes", read)
	if read == 0 || read >= 2000 {
		t.Errorf("a miss read %d bytes, want some and fewer than 2000", read)
	}
	if got, err := r.Lookup(t.Context(), p.Ref); err != nil || got.Digest != want.Digest {
		t.Errorf("Lookup: %+v, %v", got, err)
	}
	t.Logf("a hit read %d bytes", count.Read.Load()-read)
	prefix := "GET /v2/kata/cache/qemu/manifests/"
	if diff := cmp.Diff([]string{prefix + missing.Tag(), prefix + p.Tag()}, faults.Requests()); diff != "" {
		t.Errorf("requests (-want +got)\n%s", diff)
	}
}

// TestForeignTags has manifests under the tags of keys that are not those of artifacts.
func TestForeignTags(t *testing.T) {
	host := registrytest.New(t)
	p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	pushed(t, host, p, other.Tag())
	image := func(size string) string {
		part := `{"digest":"sha256:` + builderID + `","size":` + size + `}`
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + part + `,"layers":[` + part + `,` + part + `]}`
	}
	for _, test := range []struct {
		name, body, want string
	}{
		{"other key", "", "is of asset \"qemu\", arch \"x86_64\", key " + p.Key},
		{"no JSON", "{", "not JSON"},
		{"image", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`, "foreign manifest"},
		{"a part of 4 EiB", image("4611686018427387904"), "at most 4398046511104 bytes"},
		{"parts whose sum overflows", image("9223372036854775807"), "at most 4398046511104 bytes"},
		{"huge", strings.Repeat(" ", oci.MaxManifest+1), "more than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var rules []registrytest.Rule
			if test.body != "" {
				rules = []registrytest.Rule{{Method: "GET", Path: "/manifests/", Do: answer(test.body)}}
			}
			r, _, n := connect(t, host, rules...)
			for range 2 {
				if _, err := r.Lookup(t.Context(), other.Ref); !IsNotFound(err) {
					t.Errorf("Lookup: %v, want a miss", err)
				}
			}
			n.want(t, test.want)
			into, _ := open(t)
			if _, err := r.Pull(t.Context(), other.Ref, into); !IsNotFound(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Pull: %v, want %q", err, test.want)
			}
			wantMiss(t, into, other.Ref)
			if refs, err := r.entries(t.Context(), "qemu"); err != nil || len(refs) != 2 {
				t.Errorf("Refs: %v, %v; want both keys", refs, err)
			}
			if err := verified(t, r, other.Ref); err == nil || IsNotFound(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Verify: %v, want %q", err, test.want)
			}
		})
	}
}

// answer sends a manifest that the registry does not have.
func answer(body string) registrytest.Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := registrytest.Status(http.StatusOK, "Content-Type", "application/vnd.oci.image.manifest.v1+json",
			"Docker-Content-Digest", digest.FromString(body).String())(request, base)
		if err == nil {
			response.Body, response.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		return response, err
	}
}

func TestOpenRegistry(t *testing.T) {
	for _, ref := range []string{"", "localhost:5000", "https://ghcr.io/kata", "ghcr.io/Kata", "ghcr.io/kata:tag", "ghcr.io/kata@" + digest.FromString("").String()} {
		if _, err := OpenRegistry(ref, oci.Options{}); err == nil || !strings.Contains(err.Error(), "HOST[:PORT]/PATH") {
			t.Errorf("OpenRegistry(%q): %v", ref, err)
		}
	}
	for _, ref := range []string{"https://bob:s3cret@ghcr.io", "bob:s3cret@ghcr.io/x", "bob:s3/cr@et@ghcr.io"} {
		if _, err := OpenRegistry(ref, oci.Options{}); err == nil || strings.Contains(err.Error(), "bob") || strings.Contains(err.Error(), "s3") {
			t.Errorf("a password: %v", err)
		}
	}
	if _, err := OpenRegistry("ghcr.io/kata", oci.Options{Username: "x"}); err == nil {
		t.Error("a user name without a password is accepted")
	}
}

func TestMovingTag(t *testing.T) {
	valid := regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	seen := map[string]string{}
	for _, name := range []string{
		"main", "stable-3.28", "feature/x", "feature-x", "feature\\x", "", "-", "--", "/", "ä", "ö", ".", "..", "a b",
		"x:y", "x@y", "\x00", strings.Repeat("b", 200), strings.Repeat("b", 201), strings.Repeat("/", 300), "UPPER", "upper",
	} {
		tag := MovingTag("latest", name, "x86_64")
		if !valid.MatchString(tag) || !strings.HasPrefix(tag, "latest-") || !strings.HasSuffix(tag, "-x86_64") {
			t.Errorf("MovingTag(%q) = %q", name, tag)
		}
		if before, found := seen[tag]; found {
			t.Errorf("%q and %q share the tag %q", before, name, tag)
		}
		seen[tag] = name
	}
	if got := MovingTag("latest", "stable-3.28", "s390x"); got != "latest-stable-3.28-s390x" {
		t.Errorf("MovingTag: %q", got)
	}
}

// TestOldManifest reads an artifact that was stored before secondary outputs existed.
func TestOldManifest(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "manifest.golden"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := oci.ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := refOf(m)
	if artifact := artifactOf(ref, m); err != nil || artifact.Outputs != nil {
		t.Fatalf("parse: %+v, %v", artifact, err)
	}
	for _, layer := range []string{
		`{"mediaType":"text/plain","annotations":{"io.katacontainers.asset.output":"modules"}}`,
		`{"mediaType":"application/vnd.kata-containers.asset.output.v1.tar+zstd"}`,
		`{"mediaType":"application/vnd.kata-containers.asset.output.v1.tar+zstd","annotations":{"io.katacontainers.asset.output":"../x"}}`,
	} {
		changed := m
		if err := json.Unmarshal([]byte(`{"layers":[{},{},`+layer+`]}`), &changed.Manifest); err != nil {
			t.Fatal(err)
		}
		changed.Layers[0], changed.Layers[1] = m.Layers[0], m.Layers[1]
		changed.Layers[2].Digest = m.Layers[0].Digest
		if _, err := refOf(changed); err == nil {
			t.Errorf("the layer %s is accepted", layer)
		}
	}
}

func TestContextEnds(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	pace := quick
	pace.Stall = time.Minute
	r, _, n := connectAt(t, host, pace, registrytest.Rule{Path: "/blobs/", Do: registrytest.Stall(10, nil)})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	into, _ := open(t)
	if _, err := r.Pull(ctx, p.Ref, into); !errors.Is(err, context.DeadlineExceeded) || IsNotFound(err) {
		t.Errorf("Pull: %v, want the context's error", err)
	}
	n.want(t)
	sound(t, into)
}
