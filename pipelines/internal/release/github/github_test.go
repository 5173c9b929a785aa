package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

const (
	repository = "kata-containers/kata-containers"
	commitA    = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// rig is a Client of a Server, and what it says and waits for.
type rig struct {
	*Client
	server *githubtest.Server
	report *progress.Reporter
	notes  bytes.Buffer
	mu     sync.Mutex
	waits  []time.Duration
}

// newRig returns one that does not really wait.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{server: githubtest.New(t, repository)}
	r.report = progress.New(&r.notes, progress.Plain, nil)
	t.Cleanup(r.report.Close)
	r.server.Commits = []string{commitA}
	r.Client = r.client(t, githubtest.Token)
	return r
}

func (r *rig) client(t *testing.T, token string) *Client {
	t.Helper()
	sleep := func(ctx context.Context, wait time.Duration) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waits = append(r.waits, wait)
		return ctx.Err()
	}
	client, err := New(Options{API: r.server.URL(), Repository: repository, Token: token, Report: r.report, Pace: web.Pace{Sleep: sleep}})
	require.NoError(t, err)
	return client
}

func wanted(body string) Release {
	return Release{Tag: "3.28.0", Name: "Kata Containers 3.28.0", Target: commitA, Body: body}
}

// draft makes a draft on the server.
func (r *rig) draft(t *testing.T) Release {
	t.Helper()
	release, err := r.Draft(t.Context(), wanted("notes"))
	require.NoError(t, err)
	return release
}

// file writes a file that is to be an asset.
func file(t *testing.T, name, content string) File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.WriteFile(t, path, content)
	return File{Name: name, Path: path, Size: int64(len(content)), Digest: sum(content)}
}

func sum(content string) string {
	hash := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(hash[:])
}

func TestNew(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		wrong   string
	}{
		"github.com":      {Options{Repository: "a/b"}, ""},
		"enterprise":      {Options{API: "https://git.example.org/api/v3/", Repository: "a/b.c_d"}, ""},
		"loopback":        {Options{API: "http://127.0.0.1:80", Repository: "a/b"}, ""},
		"token unguarded": {Options{API: "http://git.example.org", Repository: "a/b"}, "use https"},
		"user":            {Options{API: "https://me:secret@git.example.org", Repository: "a/b"}, "without a user"},
		"no address":      {Options{API: "git.example.org", Repository: "a/b"}, "want https://HOST"},
		"no owner":        {Options{Repository: "kata"}, "want OWNER/NAME"},
		"more":            {Options{Repository: "a/b/c"}, "want OWNER/NAME"},
		"escape":          {Options{Repository: "a/b?c"}, "want OWNER/NAME"},
		"token":           {Options{Repository: "a/b", Token: "secret\r\nX-Evil: 1"}, "the token has invalid characters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(test.options)
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("got %v, want %q", err, test.wrong)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has a secret: %v", err)
			}
		})
	}
}

// TestTokens has tokens that lack the permission they need.
func TestTokens(t *testing.T) {
	for name, test := range map[string]struct{ token, wrong string }{
		"wrong":  {"ghp_wrong", "401 Unauthorized: Bad credentials: the token is invalid"},
		"reader": {githubtest.ReaderToken, "403 Forbidden: Resource not accessible by personal access token: the token must be allowed to write"},
		"none":   {"", "401 Unauthorized: Requires authentication"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			_, err := r.client(t, test.token).Draft(t.Context(), wanted("notes"))
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Fatalf("got %v, want %q", err, test.wrong)
			}
			said := err.Error() + r.notes.String()
			if test.token != "" && strings.Contains(said, test.token) {
				t.Errorf("the token is in %q", said)
			}
			if len(r.waits) > 0 || r.server.Changes() > 0 {
				t.Errorf("waited %v and made %d changes, want neither", r.waits, r.server.Changes())
			}
		})
	}
}

// TestTokenEchoed has a GitHub that repeats the token in its answer.
func TestTokenEchoed(t *testing.T) {
	r := newRig(t)
	r.server.Faults = []*githubtest.Fault{{Request: "^GET ", Times: 1, Status: 400, Body: `{"message": "what is ` + githubtest.Token + `"}`}}
	_, err := r.Find(t.Context(), "3.28.0")
	if err == nil || !strings.Contains(err.Error(), "what is ***") || strings.Contains(err.Error(), githubtest.Token) {
		t.Errorf("got %v, want the message without the token", err)
	}
}

// TestOtherHosts has answers that would send the token elsewhere.
func TestOtherHosts(t *testing.T) {
	for name, test := range map[string]struct {
		api, upload string
		ok          bool
	}{
		"github.com":     {DefaultAPI, "https://uploads.github.com/repos/a/b/releases/1/assets{?name,label}", true},
		"data residency": {"https://api.acme.ghe.com", "https://uploads.acme.ghe.com/repos/a/b/releases/1/assets{?name,label}", true},
		"enterprise":     {"https://git.example.org/api/v3", "https://git.example.org/api/uploads/repos/a/b/releases/1/assets{?name,label}", true},
		"other host":     {DefaultAPI, "https://uploads.github.com.evil.org/assets{?name,label}", false},
		"unencrypted":    {DefaultAPI, "http://uploads.github.com/assets{?name,label}", false},
		"none":           {DefaultAPI, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := New(Options{API: test.api, Repository: "a/b"})
			require.NoError(t, err)
			address, err := client.uploadAddress(Release{UploadURL: test.upload}, "x.tar.zst")
			if (err == nil) != test.ok || test.ok && !strings.HasSuffix(address, "/releases/1/assets?name=x.tar.zst") {
				t.Errorf("got %q, %v, want ok: %v", address, err, test.ok)
			}
		})
	}
	r := newRig(t)
	r.server.Faults = []*githubtest.Fault{{Request: "^GET .*/releases", Times: 1, Status: 200, Body: "[]",
		Header: map[string]string{"Link": `<https://evil.org/releases?page=2>; rel="next"`}}}
	// The next page is requested from the host of the first.
	_, err := r.Find(t.Context(), "3.28.0")
	if requests := r.server.Requests(); !errors.Is(err, ErrNotFound) || !strings.HasSuffix(requests[len(requests)-1], "page=2") {
		t.Errorf("got %v after %q", err, requests)
	}
}

func TestLimits(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC() // Not the clock of this machine.
	date := now.Format("Mon, 02 Jan 2006 15:04:05 GMT")
	secondary := `{"message": "You have exceeded a secondary rate limit.", "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
	for name, test := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   []time.Duration
		wrong  string
	}{
		"retry after":         {403, map[string]string{"Retry-After": "7"}, secondary, []time.Duration{7 * time.Second}, ""},
		"retry after a date":  {429, map[string]string{"Retry-After": now.Add(9 * time.Second).Format("Mon, 02 Jan 2006 15:04:05 GMT")}, "", []time.Duration{9 * time.Second}, ""},
		"retry at once":       {429, map[string]string{"Retry-After": "0"}, "", []time.Duration{time.Second}, ""},
		"retry in the past":   {403, map[string]string{"Retry-After": now.Add(-time.Hour).Format("Mon, 02 Jan 2006 15:04:05 GMT")}, "", []time.Duration{time.Second}, ""},
		"the hour's quota":    {403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000120"}, "", []time.Duration{121 * time.Second}, ""},
		"secondary, unspoken": {403, nil, secondary, []time.Duration{time.Minute}, ""},
		"too many, unspoken":  {429, nil, "", []time.Duration{time.Minute}, ""},
		"too long":            {403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800003600"}, "", nil, "run it again after"},
		"no limit":            {403, map[string]string{"X-RateLimit-Remaining": "41"}, `{"message": "Resource not accessible"}`, nil, "must be allowed to write"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			header := map[string]string{"Date": date}
			for name, value := range test.header {
				header[name] = value
			}
			// A limit must not end a request that may be made only once.
			r.server.Faults = []*githubtest.Fault{{Request: "^POST ", Times: 1, Status: test.status, Header: header, Body: test.body}}
			release, err := r.Draft(t.Context(), wanted("notes"))
			if !slices.Equal(r.waits, test.want) {
				t.Errorf("waited %v, want %v", r.waits, test.want)
			}
			switch {
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("got %v, want %q", err, test.wrong)
			case test.wrong == "" && (err != nil || !release.Draft || len(r.server.Releases) != 1):
				t.Errorf("got %+v, %v, want one draft", release, err)
			}
		})
	}
}

// TestLimitForever has a limit that does not end.
func TestLimitForever(t *testing.T) {
	r := newRig(t)
	r.server.Faults = []*githubtest.Fault{{Request: ".", Times: 1000, Status: 429, Header: map[string]string{"Retry-After": "240"}}}
	_, err := r.Find(t.Context(), "3.28.0")
	if err == nil || !strings.Contains(err.Error(), "run it again after") || len(r.waits) != 3 {
		t.Errorf("got %v after %v, want an end after 12 minutes of waiting", err, r.waits)
	}
}

// TestLimitStorm has a limit that claims to end at once, and never ends.
func TestLimitStorm(t *testing.T) {
	r := newRig(t)
	r.server.Faults = []*githubtest.Fault{{Request: ".", Times: 1000, Status: 429, Header: map[string]string{"Retry-After": "0"}}}
	_, err := r.Find(t.Context(), "3.28.0")
	if err == nil || !strings.Contains(err.Error(), "run it again after") || len(r.waits) != 20 {
		t.Errorf("got %v after %v, want an end after 20 waits", err, r.waits)
	}
}

// TestTransient has requests fail that can be repeated.
func TestTransient(t *testing.T) {
	for name, status := range map[string]int{"502": 502, "503": 503, "500": 500, "broken": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.server.Faults = []*githubtest.Fault{{Request: "^GET ", Times: 3, Status: status}}
			if _, err := r.Find(t.Context(), "3.28.0"); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v, want the answer after three failures", err)
			}
			if len(r.waits) != 3 || r.waits[0] < time.Second || r.waits[1] < 2*time.Second || r.waits[2] < 4*time.Second {
				t.Errorf("waited %v, want ever longer from a second on", r.waits)
			}
			r.server.Faults = []*githubtest.Fault{{Request: "^GET ", Times: 100, Status: status}}
			before := len(r.server.Requests())
			if _, err := r.Find(t.Context(), "3.28.0"); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("got %v, want a failure", err)
			}
			// Where a reused connection breaks, net/http itself tries once more.
			if tries := len(r.server.Requests()) - before; tries < 6 || tries > 7 {
				t.Errorf("tried %d times, want 6", tries)
			}
		})
	}
}
