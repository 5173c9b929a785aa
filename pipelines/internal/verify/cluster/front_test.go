package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// Requests fail as often as they are told to, and those of other methods do not.
func TestFront(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer behind.Close()
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := &Front{proxy: httputil.NewSingleHostReverseProxy(target)}
	server := httptest.NewServer(f)
	defer server.Close()
	ask := func(method string) int {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		return errorsTo(t, reply)
	}
	f.Fail(Fault{Method: http.MethodPatch, Status: http.StatusConflict, Times: 1})
	for i, want := range []struct {
		method string
		status int
	}{{http.MethodGet, http.StatusTeapot}, {http.MethodPatch, http.StatusConflict}, {http.MethodPatch, http.StatusTeapot}} {
		if got := ask(want.method); got != want.status {
			t.Errorf("request %d, %s: %d, want %d", i, want.method, got, want.status)
		}
	}
	if failed := f.Fail(Fault{Times: 1}); failed != 1 {
		t.Errorf("%d requests failed", failed)
	}
	if got := ask(http.MethodGet); got != 0 {
		t.Errorf("a request that hangs has the status %d", got)
	}
}

func errorsTo(t *testing.T, reply *http.Response) int {
	t.Helper()
	if err := reply.Body.Close(); err != nil {
		t.Error(err)
	}
	return reply.StatusCode
}

// Those who trust the certificate of a cluster trust its servers.
func TestNew(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(c.Files()[folder+"server.crt"]), []byte(c.Files()[folder+"server.key"]))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Authority())
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
}
