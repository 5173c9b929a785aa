package web

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// Whatever a server answers, credentials are sent nowhere else.
func TestCredentials(t *testing.T) {
	base := roundTripper(func(request *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: request}, nil
	})
	for _, test := range []struct {
		options     Options
		url, secret string
		wrong       string
	}{
		{Options{Host: "registry.example.org"}, "https://registry.example.org/v2/", "x", ""},
		{Options{Host: "registry.example.org:5000"}, "https://auth.example.org/token", "x", ""},
		{Options{Host: "registry.example.org"}, "https://evil.org/token", "x", "refusing to send it the credentials of registry.example.org"},
		{Options{Host: "registry.example.org"}, "https://registry.example.org.evil.org/token", "x", "refusing"},
		{Options{Host: "registry.example.co.uk"}, "https://auth.example.co.uk/token", "x", ""},
		{Options{Host: "registry.example.co.uk"}, "https://evil.co.uk/token", "x", "refusing"},
		{Options{Host: "registry-1.docker.io"}, "https://auth.docker.io/token", "x", ""},
		{Options{Host: "10.0.0.1"}, "https://10.1.0.1/token", "x", "refusing"},
		{Options{Host: "registry.example.org"}, "https://storage.other.org/blob", "", ""},
		{Options{Host: "127.0.0.1:5000"}, "http://localhost:5001/token", "x", ""},
		{Options{Host: "registry.example.org"}, "http://registry.example.org/token", "x", "without TLS"},
		{Options{}, "http://example.org/file", "", "refusing to connect without TLS"},
		{Options{Plain: true}, "http://example.org/file", "", ""},
		{Options{Plain: true}, "http://example.org/file", "x", "refusing to send credentials without TLS"},
		{Options{Plain: true}, "http://me:secret@example.org/file", "", "refusing to send credentials without TLS"},
		{Options{}, "http://127.0.0.1:5000/v2/", "x", ""},
		{Options{}, "http://[::1]:5000/v2/", "x", ""},
	} {
		test.options.Base = base
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.url, nil)
		require.NoError(t, err)
		if test.secret != "" {
			request.Header.Set("Authorization", "Bearer "+test.secret)
		}
		response, err := NewClient(test.options).Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s with %q: got %v, want %q", test.url, test.secret, err, test.wrong)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error has a secret: %v", err)
		}
	}
	// A request for a token has the password in a form.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://evil.org/token", strings.NewReader("password=x"))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if response, err := NewClient(Options{Host: "registry.example.org", Base: base}).Do(request); err == nil {
		_ = response.Body.Close()
		t.Error("the password was sent to another site")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

func TestRedirects(t *testing.T) {
	var got []string
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.Header.Get("Authorization"))
	}))
	defer target.Close()
	for _, test := range []struct {
		method string
		code   int
		want   string
	}{
		{"GET", 307, "GET "}, {"GET", 302, "GET "}, {"HEAD", 301, "HEAD "},
		{"POST", 301, ""}, {"POST", 307, ""}, {"PUT", 308, ""}, {"DELETE", 302, ""},
	} {
		got = nil
		// The same host, on another port: net/http itself would send the credentials.
		server, _ := answers(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, test.code) })
		request, err := http.NewRequestWithContext(t.Context(), test.method, server.URL, strings.NewReader("secret"))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer secret")
		response, err := NewClient(Options{}).Do(request)
		require.NoError(t, err)
		_ = response.Body.Close()
		if strings.Join(got, ",") != test.want || test.want == "" && response.StatusCode != test.code {
			t.Errorf("%s and %d: the target got %q, the client %d", test.method, test.code, got, response.StatusCode)
		}
	}
	// Endless redirections end.
	server, asked := answers(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	if _, _, err := send(t.Context(), NewClient(Options{}), "GET", server.URL, nil); err == nil || asked.Load() != 10 {
		t.Errorf("got %v after %d redirections", err, asked.Load())
	}
}

func TestReason(t *testing.T) {
	for text, want := range map[string]string{
		`Get "https://me:pw@example.org/a?sig=x": EOF`:                        "EOF",
		`GET "https://example.org/a?sig=x": response status code 401: \"no\"`: `response status code 401: \"no\"`,
		`pulling: Head "https://example.org/\"?sig=x": EOF`:                   "pulling: EOF",
		`see https://me:pw@example.org/a?sig=x and ask`:                       "see https://example.org/a and ask",
		"nothing to hide": "nothing to hide",
	} {
		cause := errors.New(text)
		if err := Clean(cause); err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("%s: got %q, want %q", text, err, want)
		}
	}
	if got := Shown("https://me:pw@example.org/a?sig=x#y"); got != "https://example.org/a" {
		t.Errorf("shown is %q", got)
	}
}

func TestReports(t *testing.T) {
	var out bytes.Buffer
	report := progress.New(&out, progress.Plain, nil)
	var q quick
	server, _ := answers(t, status(429, "Retry-After", "7"), status(200))
	if _, _, err := send(t.Context(), NewClient(Options{Report: report, Subject: "release", Pace: q.pace()}), "GET", server.URL+"/a?secret", nil); err != nil {
		t.Fatal(err)
	}
	report.Close()
	want := "release  " + strings.TrimPrefix(server.URL, "http://") + " answers 429 Too Many Requests: trying again in 7.0s\n"
	if out.String() != want {
		t.Errorf("reported %q, want %q", out.String(), want)
	}
}
