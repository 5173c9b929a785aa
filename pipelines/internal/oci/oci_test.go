package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

var quick = web.Pace{Tries: 3, First: time.Millisecond, Longest: 20 * time.Millisecond}

// repository opens a repository with a transport.
func repository(t *testing.T, ref string, transport http.RoundTripper) *Repository {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	host, _, _ := strings.Cut(ref, "/")
	r, err := NewClient(Options{Registry: host, Username: "kata", Password: "s3cret", Transport: transport, Pace: quick}).Repository(ref)
	require.NoError(t, err)
	return r
}

// small returns a manifest of one layer, with its blobs.
func small(t *testing.T) (Manifest, []Blob) {
	t.Helper()
	config, layer := BytesBlob(ocispec.MediaTypeEmptyJSON, []byte("{}")), BytesBlob("text/plain", bytes.Repeat([]byte("kata\n"), 1000))
	m, err := NewManifest(ocispec.Manifest{Config: config.Descriptor, Layers: []ocispec.Descriptor{layer.Descriptor}})
	require.NoError(t, err)
	return m, []Blob{config, layer}
}

// push pushes a manifest with its blobs, and returns how many bytes were sent.
func push(t *testing.T, r *Repository, m Manifest, blobs []Blob) (sent int64, err error) {
	t.Helper()
	for _, b := range blobs {
		how, err := r.Push(t.Context(), b, Sending{Title: "a blob"})
		if err != nil {
			return sent, err
		}
		sent += how.Bytes
	}
	return sent, r.PutManifest(t.Context(), m, "a")
}

// TestTLSOnLoopback uses TLS with a registry on this machine that supports it.
func TestTLSOnLoopback(t *testing.T) {
	server := httptest.NewTLSServer(registrytest.Handler(false))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r := repository(t, strings.TrimPrefix(server.URL, "https://")+"/kata", server.Client().Transport)
	m, blobs := small(t)
	if _, err := push(t, r, m, blobs); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Manifest(t.Context(), "a"); err != nil || got.Digest() != m.Digest() {
		t.Errorf("got %s, %v", got.Digest(), err)
	}
	tags, err := r.Tags(t.Context())
	if err != nil || len(tags) != 1 {
		t.Errorf("tags %q, %v", tags, err)
	}
}

// elsewhere fails the test when a secret is sent to another machine.
type elsewhere struct {
	t    *testing.T
	host string
}

func (e elsewhere) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == e.host {
		return http.DefaultTransport.RoundTrip(request)
	}
	var body []byte
	if request.Body != nil {
		body, _ = io.ReadAll(request.Body)
	}
	if request.Header.Get("Authorization") != "" || strings.Contains(string(body)+request.URL.String(), "s3cret") {
		e.t.Errorf("a secret was sent to %s", request.URL.Host)
	}
	return registrytest.Status(http.StatusOK)(request, nil)
}

// TestSecretsStay has a registry that tries to obtain the password on another machine
// without TLS: by a realm, and by a redirect.
func TestSecretsStay(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, request *http.Request){
		"realm": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://10.0.0.1/token",service="kata"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
		"realm with TLS": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://token.example.org/token",service="kata"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
		"redirect": func(w http.ResponseWriter, request *http.Request) {
			if user, _, _ := request.BasicAuth(); user == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="kata"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			http.Redirect(w, request, "http://10.0.0.1"+request.URL.Path, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(answer))
			defer server.Close()
			host := strings.TrimPrefix(server.URL, "http://")
			r := repository(t, host+"/kata", elsewhere{t, host})
			if _, err := r.Manifest(t.Context(), "a"); err == nil || IsNotFound(err) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v", err)
			}
			m, blobs := small(t)
			if _, err := push(t, r, m, blobs); err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// wrapped changes the responses of a registry.
func wrapped(t *testing.T, change func(w http.ResponseWriter, request *http.Request) bool) string {
	t.Helper()
	behind := registrytest.Handler(false)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !change(w, request) {
			behind.ServeHTTP(w, request)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/kata"
}

// dropping removes a header from responses.
type dropping struct {
	http.ResponseWriter
	header string
}

func (d dropping) WriteHeader(code int) {
	d.Header().Del(d.header)
	d.ResponseWriter.WriteHeader(code)
}

// TestRegistriesThatSayLittle has registries that omit optional headers, or deny access to
// what they lack: a push works, and a second one sends nothing.
func TestRegistriesThatSayLittle(t *testing.T) {
	behind := registrytest.Handler(false)
	for name, change := range map[string]func(w http.ResponseWriter, request *http.Request) bool{
		"no digest": func(w http.ResponseWriter, request *http.Request) bool {
			behind.ServeHTTP(dropping{w, "Docker-Content-Digest"}, request)
			return true
		},
		"no length": func(w http.ResponseWriter, request *http.Request) bool {
			if request.Method == http.MethodHead {
				w = dropping{w, "Content-Length"}
			}
			behind.ServeHTTP(w, request)
			return true
		},
		"hidden": func(w http.ResponseWriter, request *http.Request) bool {
			return hides(w, request, behind, http.StatusForbidden)
		},
		"hidden from strangers": func(w http.ResponseWriter, request *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="kata"`)
			return hides(w, request, behind, http.StatusUnauthorized)
		},
	} {
		t.Run(name, func(t *testing.T) {
			behind = registrytest.Handler(false)
			r := repository(t, wrapped(t, change), nil)
			m, blobs := small(t)
			if sent, err := push(t, r, m, blobs); err != nil || sent == 0 {
				t.Fatalf("sent %d bytes, %v", sent, err)
			}
			if sent, err := push(t, r, m, blobs); err != nil || sent != 0 {
				t.Errorf("the second time sent %d bytes, %v", sent, err)
			}
			if got, err := r.Manifest(t.Context(), "a"); err != nil || got.Digest() != m.Digest() {
				t.Errorf("got %s, %v", got.Digest(), err)
			}
			subject := m.Descriptor()
			proof, err := NewManifest(ocispec.Manifest{ArtifactType: "text/proof", Config: m.Config, Layers: m.Layers, Subject: &subject})
			require.NoError(t, err)
			if err := r.PutManifest(t.Context(), proof, ""); err != nil {
				t.Errorf("pushing a referrer: %v", err)
			}
			if got, err := r.Referrers(t.Context(), m.Digest(), "text/proof", 2); err != nil || len(got) != 1 || got[0].Digest != proof.Digest() {
				t.Errorf("referrers %v, %v", got, err)
			}
		})
	}
}

// hides answers a request for what a registry lacks with a refusal.
func hides(w http.ResponseWriter, request *http.Request, behind http.Handler, code int) bool {
	probe := httptest.NewRecorder()
	if request.Method == http.MethodHead || request.Method == http.MethodGet {
		behind.ServeHTTP(probe, request)
	}
	if probe.Code == http.StatusNotFound {
		w.WriteHeader(code)
		return true
	}
	behind.ServeHTTP(w, request)
	return true
}

// TestRefusalWithReason has a registry that refuses with a reason: the request is not
// retried, and the error has the reason.
func TestRefusalWithReason(t *testing.T) {
	asked := 0
	r := repository(t, wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
		if request.Method != http.MethodPut || !strings.Contains(request.URL.Path, "/manifests/") {
			return false
		}
		asked++
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"code":"TAG_INVALID","message":"no","detail":{"message":"the tag is immutable"}}]}`)
		return true
	}), nil)
	m, blobs := small(t)
	if _, err := push(t, r, m, blobs); err == nil || !strings.Contains(err.Error(), "400 Bad Request: no (the tag is immutable)") || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// TestEndless has endless lists, and an error with an endless body.
func TestEndless(t *testing.T) {
	pages := 0
	r := repository(t, wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
		if strings.HasSuffix(request.URL.Path, "/tags/list") {
			pages++
			w.Header().Set("Link", fmt.Sprintf(`</v2/kata/tags/list?n=1&last=%d>; rel="next"`, pages))
			fmt.Fprintf(w, `{"name":"kata","tags":["t%d"]}`, pages)
			return true
		}
		w.WriteHeader(http.StatusForbidden)
		for range 1 << 12 {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
				break
			}
		}
		return true
	}), nil)
	if _, err := r.Tags(t.Context()); !errors.Is(err, errEndless) || pages > maxPages+2 {
		t.Errorf("after %d pages: %v", pages, err)
	}
	if _, err := r.Manifest(t.Context(), "a"); !Refused(err) {
		t.Errorf("error %v", err)
	}
}

// TestDamagedBlobStays guards against removing a blob with which another process has just
// replaced a damaged one.
func TestDamagedBlobStays(t *testing.T) {
	l := &Layout{Root: filepath.Join(t.TempDir(), "layout"), Locks: t.TempDir(), Name: func(Manifest) (string, error) { return "a", nil }}
	m, blobs := small(t)
	require.NoError(t, l.Add(t.Context(), "a", m, blobs))
	path := l.Path(blobs[1].Digest)
	bad := bytes.Repeat([]byte("x"), int(blobs[1].Size))
	require.NoError(t, errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, bad, 0o644)))
	if whole, err := l.Holds(t.Context(), blobs[1].Descriptor); whole || err != nil {
		t.Errorf("a damaged blob is whole: %t, %v", whole, err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, bad) {
		t.Errorf("what is at the path was touched: %v", err)
	}
	require.NoError(t, l.Add(t.Context(), "a", m, blobs))
	// Another process found the damaged blob before, and drops it now.
	require.NoError(t, l.Drop(t.Context(), "a", m.Digest(), blobs[1].Descriptor))
	if whole, err := l.Holds(t.Context(), blobs[1].Descriptor); !whole || err != nil {
		t.Errorf("the repaired blob is gone: %t, %v", whole, err)
	}
	if _, err := l.Manifest(t.Context(), "a"); err != nil {
		t.Errorf("the repaired entry is gone: %v", err)
	}
}

func TestSizes(t *testing.T) {
	const huge = int64(1) << 62
	if got := Total([]ocispec.Descriptor{{Size: huge}, {Size: huge}, {Size: huge}}); got < huge {
		t.Errorf("the sum overflows: %d", got)
	}
	_, err := ParseManifest([]byte(`{"config":{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":4611686018427387904}}`))
	if !IsDamage(err) {
		t.Errorf("a part of 4 EiB: %v, want damage", err)
	}
}
