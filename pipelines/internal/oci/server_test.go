package oci

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// TestEndlessBodies has a registry with an endless response of one kind: the client reads
// no more than the limit of that kind, and continues or fails.
func TestEndlessBodies(t *testing.T) {
	for name, test := range map[string]struct {
		method, path string
		code         int
	}{
		"a token":                     {"GET", "/token", 200},
		"a refused token":             {"GET", "/token", 403},
		"a manifest":                  {"GET", "/manifests/", 200},
		"a refused manifest":          {"GET", "/manifests/", 403},
		"an upload that begins":       {"POST", "/blobs/uploads/", 202},
		"an upload that is refused":   {"POST", "/blobs/uploads/", 403},
		"bytes that are accepted":     {"PATCH", "/blobs/uploads/", 202},
		"bytes that are refused":      {"PATCH", "/blobs/uploads/", 403},
		"an end that is refused":      {"PUT", "/blobs/uploads/", 403},
		"a manifest that is accepted": {"PUT", "/manifests/", 201},
		"a manifest that is refused":  {"PUT", "/manifests/", 403},
		"tags":                        {"GET", "/tags/list", 200},
		"referrers":                   {"GET", "/referrers/", 200},
	} {
		t.Run(name, func(t *testing.T) {
			var written, met atomic.Int64
			server := wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
				if request.Header.Get("Authorization") == "" && test.path == "/token" && request.URL.Path != "/token" {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=\"http://%s/token\"", request.Host))
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				if request.Method != test.method || !strings.Contains(request.URL.Path, test.path) {
					return false
				}
				met.Add(1)
				w.Header().Set("Location", "/v2/kata/blobs/uploads/1")
				w.WriteHeader(test.code)
				for request.Context().Err() == nil && written.Load() < 1<<30 {
					n, err := w.Write(bytes.Repeat([]byte(" "), 64<<10))
					written.Add(int64(n))
					if err != nil {
						break
					}
				}
				return true
			})
			r := repository(t, server, nil)
			m, blobs := small(t)
			_, pushErr := push(t, r, m, blobs)
			_, manifestErr := r.Manifest(t.Context(), "a")
			_, _ = r.Tags(t.Context())
			_, _ = r.Referrers(t.Context(), m.Digest(), "x", 1)
			if met.Load() == 0 || written.Load() > 200<<20 {
				t.Errorf("%d bytes of %d answers went out: %v, %v", written.Load(), met.Load(), pushErr, manifestErr)
			}
			if test.code == http.StatusForbidden && !Refused(pushErr) && !Refused(manifestErr) {
				t.Errorf("got %v and %v, want a refusal", pushErr, manifestErr)
			}
		})
	}
}

// TestTokensStay has a token server whose responses contain secrets and no token.
func TestTokensStay(t *testing.T) {
	for name, answer := range map[string]string{
		"no token": `{"refresh_token":"hush"}`, "a list": `["hush"]`, "no JSON": `hush`,
		"errors": `{"refresh_token":"hush","errors":[{"code":"DENIED","message":"no"}]}`,
	} {
		for _, code := range []int{http.StatusOK, http.StatusForbidden} {
			t.Run(fmt.Sprint(name, " ", code), func(t *testing.T) {
				r := repository(t, wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
					if request.URL.Path == "/token" {
						w.WriteHeader(code)
						fmt.Fprint(w, answer)
						return true
					}
					w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=\"http://%s/token\"", request.Host))
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}), nil)
				m, blobs := small(t)
				_, err := push(t, r, m, blobs)
				if err == nil || strings.Contains(err.Error(), "hush") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// TestEndlessReferrers has an endless list of referrers.
func TestEndlessReferrers(t *testing.T) {
	asked := 0
	r := repository(t, wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
		if !strings.Contains(request.URL.Path, "/referrers/") {
			return false
		}
		asked++
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		w.Header().Set("Link", fmt.Sprintf("<%s?n=%d>; rel=\"next\"", request.URL.Path, asked))
		fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
		return true
	}), nil)
	m, _ := small(t)
	if all, err := r.Referrers(t.Context(), m.Digest(), "x", 10); err != nil || len(all) > 0 || asked > maxPages {
		t.Errorf("after %d pages: %d, %v", asked, len(all), err)
	}
}

// TestDropsOfBytes has a registry that sends a response one byte at a time.
func TestDropsOfBytes(t *testing.T) {
	host := wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
		if request.Method == http.MethodHead {
			return false
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		for request.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
		return true
	})
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	pace := quick
	pace.Stall = 300 * time.Millisecond
	r, err := NewClient(Options{Pace: pace}).Repository(host)
	require.NoError(t, err)
	m, blobs := small(t)
	begin := time.Now()
	_, manifestErr := r.Manifest(t.Context(), "a")
	_, tagsErr := r.Tags(t.Context())
	verifyErr := r.Verify(t.Context(), blobs[1].Descriptor, "")
	_, pushErr := push(t, r, m, blobs)
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	for _, err := range []error{manifestErr, tagsErr, verifyErr, pushErr} {
		if err == nil {
			t.Error("no error")
		}
	}
}

// TestPatienceOfUploads has a registry that asks uploads to wait for an hour.
func TestPatienceOfUploads(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodPut} {
		r := repository(t, wrapped(t, func(w http.ResponseWriter, request *http.Request) bool {
			if request.Method != method {
				return false
			}
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}), nil)
		m, blobs := small(t)
		done := make(chan error, 1)
		go func() {
			_, err := push(t, r, m, blobs)
			done <- err
		}()
		select {
		case err := <-done:
			if Status(err) != http.StatusServiceUnavailable {
				t.Errorf("%s: %v", method, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the client waits for an hour", method)
		}
	}
}

// TestRefusedConnections has no listening registry: at the default pace, that costs
// seconds only.
func TestRefusedConnections(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := listener.Addr().String()
	require.NoError(t, listener.Close())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r, err := NewClient(Options{}).Repository(host + "/kata")
	require.NoError(t, err)
	m, blobs := small(t)
	begin := time.Now()
	if _, err := push(t, r, m, blobs); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("push: %v", err)
	}
	if _, err := r.Manifest(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("manifest: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestReaderWithoutRanges has a registry lose the connection of a blob, and then send all
// of it again: a reader of the beginning gets the rest, or an error.
func TestReaderWithoutRanges(t *testing.T) {
	content := bytes.Repeat([]byte("kata\n"), 100_000)
	for name, second := range map[string][]byte{"the same": content, "less": content[:1000], "more": append(content[:len(content):len(content)], 'x')} {
		times := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			times++
			if times == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(content[:300_000])
				panic(http.ErrAbortHandler)
			}
			if times > 2 {
				second = content
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(second)))
			_, _ = w.Write(second)
		}))
		r := repository(t, strings.TrimPrefix(server.URL, "http://")+"/kata", nil)
		reader := r.Reader(t.Context(), BytesBlob("x", content).Descriptor)
		var got bytes.Buffer
		if _, err := got.ReadFrom(reader); (err == nil) != (name == "the same") || err == nil && !bytes.Equal(got.Bytes(), content) {
			t.Errorf("%s: read %d bytes, %v", name, got.Len(), err)
		}
		_ = reader.Close()
		server.Close()
	}
}
