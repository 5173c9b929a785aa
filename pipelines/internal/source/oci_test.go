package source

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// component pushes an artifact with two layers, the second of which is content, and
// returns its place.
func component(t *testing.T, host string) versions.Place {
	t.Helper()
	return titled(t, host, "version", "kata-static-agent.tar.zst")
}

// titled is the place of the second of two layers with titles.
func titled(t *testing.T, host, first, second string) versions.Place {
	t.Helper()
	repository, err := oci.NewClient(oci.Options{}).Repository(host + "/kata/agent")
	if err != nil {
		t.Fatal(err)
	}
	blobs := []oci.Blob{oci.BytesBlob("text/plain", []byte("3.28.0")), oci.BytesBlob("application/zstd", content)}
	blobs[0].Annotations = map[string]string{ocispec.AnnotationTitle: first}
	blobs[1].Annotations = map[string]string{ocispec.AnnotationTitle: second}
	config := oci.BytesBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	for _, blob := range append(blobs, config) {
		if _, err := repository.Push(t.Context(), blob, oci.Sending{}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := oci.NewManifest(ocispec.Manifest{Config: config.Descriptor, Layers: []ocispec.Descriptor{blobs[0].Descriptor, blobs[1].Descriptor}})
	if err != nil {
		t.Fatal(err)
	}
	if err := repository.PutManifest(t.Context(), m, "3.28.0-x86_64"); err != nil {
		t.Fatal(err)
	}
	ref := fmt.Sprintf("%s/kata/agent:3.28.0-x86_64@%s", host, m.Digest())
	return versions.Place{Name: "ci", OCI: &versions.OCI{Ref: ref, Title: second}, Line: 7}
}

// TestFetchLayer takes a layer by its title, by its digest, and by both.
func TestFetchLayer(t *testing.T) {
	titled := component(t, registrytest.New(t))
	both, hashed := titled, titled
	both.SHA256, hashed.SHA256 = hashText(string(content)), hashText(string(content))
	hashed.OCI = &versions.OCI{Ref: titled.OCI.Ref}
	for name, place := range map[string]versions.Place{"title": titled, "both": both, "digest": hashed} {
		f := fetcher(t)
		f.Registries = oci.NewClient(oci.Options{})
		for _, from := range []Origin{FromPlace, FromCache} {
			got, err := f.Fetch(t.Context(), linux(place), nil)
			wantFetched(t, f, got, err, "ci")
			if got.From != from {
				t.Errorf("%s: from the %s, want the %s", name, got.From, from)
			}
		}
		f.Offline = true
		_, err := f.Fetch(t.Context(), linux(place), nil)
		if (err == nil) != place.Cacheable() {
			t.Errorf("%s, offline: %v", name, err)
		}
		if err := f.Answers(t.Context(), linux(place), place); err != nil {
			t.Errorf("%s: it does not answer: %v", name, err)
		}
	}
}

// TestFetchLayerWithLogin: the place gets the credentials of the docker config.
func TestFetchLayerWithLogin(t *testing.T) {
	handler := registrytest.Handler(true)
	open := httptest.NewServer(handler)
	defer open.Close()
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer guarded.Close()
	place := component(t, strings.TrimPrefix(open.URL, "http://"))
	host := strings.TrimPrefix(guarded.URL, "http://")
	place.OCI.Ref = host + place.OCI.Ref[strings.IndexByte(place.OCI.Ref, '/'):]
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	f := fetcher(t)
	f.Registries = oci.NewClient(oci.Options{})
	if _, err := f.Fetch(t.Context(), linux(place), nil); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || !strings.Contains(err.Error(), "docker login "+host) {
		t.Errorf("without credentials: %v", err)
	}
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:secret")))
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Registries = oci.NewClient(oci.Options{})
	got, err := f.Fetch(t.Context(), linux(place), nil)
	wantFetched(t, f, got, err, "ci")
}

// TestNoLayer: a reference that does not hold what is declared.
func TestNoLayer(t *testing.T) {
	host := registrytest.New(t)
	good := component(t, host)
	edited := func(edit func(*versions.Place)) versions.Place {
		place, ref := good, *good.OCI
		place.OCI = &ref
		edit(&place)
		return place
	}
	sum := hashText(string(content))
	for want, place := range map[string]versions.Place{
		`has several layers with the title "both": give the sha256 of the one that is meant, without a title`: titled(t, host, "both", "both"),
		`has no layer with the title "agent"; it has version sha256:`:                                         edited(func(p *versions.Place) { p.OCI.Title = "agent" }),
		`has no layer sha256:00; it has version sha256:`:                                                      edited(func(p *versions.Place) { p.OCI.Title, p.SHA256 = "", "00" }),
		"has sha256 " + sum + " and sha256 00 is declared":                                                    edited(func(p *versions.Place) { p.SHA256 = "00" }),
		"no place of source \"linux\" has the file:\n  ci: sha256:" + sum + " in " + host + "/kata/agent: not found": edited(func(p *versions.Place) {
			p.OCI.Ref = host + "/kata/agent@sha256:" + sum
		}),
		"connection refused": edited(func(p *versions.Place) { p.OCI.Ref = "127.0.0.1:1/kata/agent@sha256:" + sum }),
	} {
		f := fetcher(t)
		f.Registries = oci.NewClient(oci.Options{Pace: f.Pace})
		if _, err := f.Fetch(t.Context(), linux(place), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	f := fetcher(t)
	if _, err := f.Fetch(t.Context(), linux(good), nil); err == nil || !strings.Contains(err.Error(), "there is no client for registries here") {
		t.Errorf("without a client: %v", err)
	}
}

// TestIndex: the digest of an index of several architectures does not say which one.
func TestIndex(t *testing.T) {
	host := registrytest.New(t)
	repository, err := oci.NewClient(oci.Options{}).Repository(host + "/kata/agent")
	if err != nil {
		t.Fatal(err)
	}
	m, err := oci.ParseManifest([]byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	m.MediaType = ocispec.MediaTypeImageIndex
	if err := repository.PutManifest(t.Context(), m, ""); err != nil {
		t.Fatal(err)
	}
	f := fetcher(t)
	f.Registries = oci.NewClient(oci.Options{})
	place := versions.Place{Name: "ci", OCI: &versions.OCI{Ref: host + "/kata/agent@" + m.Digest().String(), Title: "a"}}
	if _, err := f.Fetch(t.Context(), linux(place), nil); err == nil || !strings.Contains(err.Error(), "give the digest of the manifest of one architecture") {
		t.Errorf("%v", err)
	}
}

// TestOpen hashes while it reads, a file of the cache as well as a new one.
func TestOpen(t *testing.T) {
	s := serve(t, nil)
	f := fetcher(t)
	source := linux(place("upstream", s.URL, content))
	for _, from := range []Origin{FromPlace, FromCache} {
		opened, err := f.Open(t.Context(), source, nil)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 1000)
		if n, err := opened.Read(part); n != len(part) || err != nil || !bytes.Equal(part, content[:1000]) || opened.Fetched.From != from {
			t.Errorf("%s: %d, %v", opened.Fetched.From, n, err)
		}
		if n, err := opened.ReadAt(part, 16); n != len(part) || err != nil || opened.Size() != int64(len(content)) {
			t.Errorf("%d, %v", n, err)
		}
		if err := opened.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
	// A damaged file is found at the end, and replaced by the next fetch.
	if err := os.WriteFile(f.final(hashText(string(content))), bytes.ToUpper(content), 0o644); err != nil {
		t.Fatal(err)
	}
	opened, err := f.Open(t.Context(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := opened.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "has sha256 "+hashText(string(bytes.ToUpper(content)))) {
		t.Errorf("damaged: %v", err)
	}
	got, err := f.Fetch(t.Context(), source, nil)
	wantFetched(t, f, got, err, "upstream")
}
