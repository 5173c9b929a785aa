package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// compare returns the actions by name.
func (r *rig) compare(t *testing.T, release Release, files []File) (map[string]Action, []Change) {
	t.Helper()
	changes, _, err := r.Compare(t.Context(), release, files)
	require.NoError(t, err)
	actions := map[string]Action{}
	for _, change := range changes {
		actions[change.File.Name] = change.Action
	}
	return actions, changes
}

func TestSync(t *testing.T) {
	r := newRig(t)
	r.server.PageSize = 2
	release := r.draft(t)
	there := r.server.Releases[0]
	for _, name := range []string{"one", "two", "by-hand", "three"} {
		r.server.Add(there, name, []byte(name))
	}
	r.server.Do(func() { there.Assets[3].State = "starter" })
	files := []File{file(t, "one", "one"), file(t, "two", "other"), file(t, "three", "three"), file(t, "four.tar.zst", "four")}

	actions, changes := r.compare(t, release, files)
	want := map[string]Action{"one": Keep, "two": Replace, "three": Resume, "four.tar.zst": Upload}
	if diff := cmp.Diff(want, actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if _, others, err := r.Compare(t.Context(), release, files); err != nil || len(others) != 1 || others[0].Name != "by-hand" {
		t.Errorf("others are %v, %v, want the one that was added by hand", others, err)
	}
	require.NoError(t, r.Sync(t.Context(), release, changes, false))
	for _, file := range files {
		if asset := r.server.Release("3.28.0").Asset(file.Name); asset == nil || asset.Digest != file.Digest {
			t.Errorf("%s is %+v, want %s", file.Name, asset, file.Digest)
		}
	}
	if asset := r.server.Release("3.28.0").Asset("by-hand"); asset == nil {
		t.Error("what was added by hand is gone")
	}
	if n := r.server.Count("POST /repos/" + repository + "/releases/1/assets"); n != 3 {
		t.Errorf("%d uploads, want 3", n)
	}
	// All of it once more does nothing.
	before := r.server.Changes()
	actions, changes = r.compare(t, release, files)
	if err := r.Sync(t.Context(), release, changes, false); err != nil || r.server.Changes() != before {
		t.Errorf("the second time %v, %d changes, %v, want none", err, r.server.Changes()-before, actions)
	}
	if got := r.server.Release("3.28.0").Asset("four.tar.zst").Type; got != "application/zstd" {
		t.Errorf("a tarball is %s", got)
	}
}

// TestUploadFaults has an upload fail in every way; in the end the asset is whole, the
// only one, and was not sent more often than necessary.
func TestUploadFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault githubtest.Fault
		sent  int
		wrong string
	}{
		"502":                        {githubtest.Fault{Times: 1, Status: 502}, 2, ""},
		"502 and a starter":          {githubtest.Fault{Times: 2, Status: 502, Leave: githubtest.Starter}, 3, ""},
		"502 and all is well":        {githubtest.Fault{Times: 1, Status: 502, Leave: githubtest.Done}, 1, ""},
		"500":                        {githubtest.Fault{Times: 1, Status: 500}, 2, ""},
		"broken off":                 {githubtest.Fault{Times: 1}, 2, ""},
		"broken off, a starter":      {githubtest.Fault{Times: 1, Leave: githubtest.Starter}, 2, ""},
		"broken off, all is well":    {githubtest.Fault{Times: 1, Leave: githubtest.Done}, 1, ""},
		"422 on an invisible asset":  {githubtest.Fault{Times: 1, Status: 422, Body: `{"message": "Validation Failed", "errors": [{"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}]}`}, 2, ""},
		"damaged on the way":         {githubtest.Fault{Times: 1, Leave: githubtest.Damaged}, 2, ""},
		"a limit":                    {githubtest.Fault{Times: 2, Status: 403, Header: map[string]string{"Retry-After": "1"}}, 3, ""},
		"an answer that is not JSON": {githubtest.Fault{Times: 1, Status: 201, Leave: githubtest.Done, Body: "<html>"}, 1, ""},
		"refused":                    {githubtest.Fault{Times: 1, Status: 403, Body: `{"message": "Resource not accessible by integration"}`}, 1, "not accessible by integration"},
		"no length":                  {githubtest.Fault{Times: 1, Status: 400, Body: `{"message": "Bad Content-Length"}`}, 1, "Bad Content-Length"},
		"a full release":             {githubtest.Fault{Times: 1, Status: 422, Body: `{"message": "Validation Failed", "errors": ["too many assets"]}`}, 1, "too many assets"},
		"down":                       {githubtest.Fault{Times: 100, Status: 502, Leave: githubtest.Starter}, 6, "uploading one.tar.zst: GitHub answers 502 Bad Gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			release, one := r.draft(t), file(t, "one.tar.zst", strings.Repeat("one", 1000))
			test.fault.Request = "^POST .*/assets"
			r.server.Faults = []*githubtest.Fault{&test.fault}
			_, changes := r.compare(t, release, []File{one})
			err := r.Sync(t.Context(), release, changes, false)
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Fatalf("got %v, want %q", err, test.wrong)
			}
			assets := r.server.Release("3.28.0").Assets
			switch {
			case test.wrong != "" && len(assets) != 0:
				t.Errorf("%d assets are left behind", len(assets))
			case test.wrong == "" && (len(assets) != 1 || assets[0].State != "uploaded" || assets[0].Digest != one.Digest):
				t.Errorf("the assets are %+v, want the one whole", assets)
			}
			if n := r.server.Count("POST /repos/" + repository + "/releases/1/assets"); n != test.sent {
				t.Errorf("sent %d times, want %d", n, test.sent)
			}
		})
	}
}

// TestStubbornStarter has a starter that GitHub does not delete at first.
func TestStubbornStarter(t *testing.T) {
	r := newRig(t)
	release, one := r.draft(t), file(t, "one", "one")
	r.server.Faults = []*githubtest.Fault{
		{Request: "^POST .*/assets", Times: 1, Status: 502, Leave: githubtest.Starter},
		{Request: "^DELETE ", Times: 1, Status: 404},
	}
	_, changes := r.compare(t, release, []File{one})
	require.NoError(t, r.Sync(t.Context(), release, changes, false))
	if asset := r.server.Release("3.28.0").Asset("one"); asset == nil || asset.Digest != one.Digest {
		t.Errorf("got %+v, want it whole", asset)
	}
}

func TestAllowed(t *testing.T) {
	changed := []Change{{Action: Keep, File: File{Name: "one"}}, {Action: Replace, File: File{Name: "two"}}}
	for name, test := range map[string]struct {
		release Release
		changes []Change
		force   bool
		wrong   string
	}{
		"draft":             {Release{Draft: true}, changed, false, ""},
		"nothing to do":     {Release{}, changed[:1], false, ""},
		"published":         {Release{}, changed, false, "the release is published and differs in two"},
		"forced":            {Release{}, changed, true, ""},
		"immutable":         {Release{Immutable: true}, changed, true, "immutable"},
		"immutable, idle":   {Release{Immutable: true}, changed[:1], false, ""},
		"published, forced": {Release{}, nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := Allowed(test.release, test.changes, test.force)
			if test.wrong == "" && err != nil || test.wrong != "" && (!errors.Is(err, ErrPublished) || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("got %v, want %q", err, test.wrong)
			}
		})
	}
}

// TestPublished has a release that is published: without force it stays as it
// is, with force it takes the new file.
func TestPublished(t *testing.T) {
	r := newRig(t)
	release, err := r.Publish(t.Context(), r.draft(t), true)
	require.NoError(t, err)
	before, files := r.server.Changes(), []File{file(t, "one", "one")}
	_, changes := r.compare(t, release, files)
	if err := r.Sync(t.Context(), release, changes, false); !errors.Is(err, ErrPublished) || r.server.Changes() != before {
		t.Errorf("got %v and %d changes, want ErrPublished and none", err, r.server.Changes()-before)
	}
	if err := r.Sync(t.Context(), release, changes, true); err != nil || r.server.Release("3.28.0").Asset("one") == nil {
		t.Errorf("with force: %v", err)
	}
}

// TestBreakingOff ends an upload in the middle, and then does it again.
func TestBreakingOff(t *testing.T) {
	r := newRig(t)
	release, one := r.draft(t), file(t, "one", strings.Repeat("x", 32<<20))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	r.server.Around = func(w http.ResponseWriter, request *http.Request, serve http.HandlerFunc) {
		if request.Method == http.MethodPost {
			request.Body = &breaking{ReadCloser: request.Body, cancel: func() { cancel(why) }}
		}
		serve(w, request)
	}
	_, changes := r.compare(t, release, []File{one})
	if err := r.Sync(ctx, release, changes, false); !errors.Is(err, why) {
		t.Fatalf("got %v, want the reason", err)
	}
	r.server.Do(func() { r.server.Around = nil })
	actions, changes := r.compare(t, release, []File{one})
	if actions["one"] != Resume {
		t.Errorf("it is to %s, want resume", actions["one"])
	}
	require.NoError(t, r.Sync(t.Context(), release, changes, false))
	if asset := r.server.Release("3.28.0").Asset("one"); asset == nil || asset.Digest != one.Digest {
		t.Errorf("got %+v, want it whole", asset)
	}
}

// TestChangedFile has a file that is not what was announced.
func TestChangedFile(t *testing.T) {
	r := newRig(t)
	release, one := r.draft(t), file(t, "one", "one")
	require.WriteFile(t, one.Path, "ONE")
	_, changes := r.compare(t, release, []File{one})
	err := r.Sync(t.Context(), release, changes, false)
	if err == nil || !strings.Contains(err.Error(), "changed in the meantime") || len(r.server.Release("3.28.0").Assets) != 0 {
		t.Errorf("got %v, want it to be said and nothing left", err)
	}
}

// TestNoDigests has a GitHub that gives no digests.
func TestNoDigests(t *testing.T) {
	r := newRig(t)
	release := r.draft(t)
	for name, content := range map[string]string{"one": "one", "two": "xxx", "three": "three"} {
		asset := r.server.Add(r.server.Releases[0], name, []byte(content))
		r.server.Do(func() { asset.Digest = "" })
	}
	gone := r.server.Release("3.28.0").Asset("three").ID
	r.server.Faults = []*githubtest.Fault{{Request: fmt.Sprintf("^GET .*/assets/%d", gone), Times: 1, Status: 404}}
	actions, _ := r.compare(t, release, []File{file(t, "one", "one"), file(t, "two", "two"), file(t, "three", "three")})
	if diff := cmp.Diff(map[string]Action{"one": Keep, "two": Replace, "three": Replace}, actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

func TestDownload(t *testing.T) {
	r := newRig(t)
	r.draft(t)
	added := r.server.Add(r.server.Releases[0], "versions.yaml", []byte("assets: {}\n"))
	asset := Asset{ID: added.ID, Name: "versions.yaml", Size: added.Size, Digest: added.Digest, State: "uploaded"}
	if got, err := r.Download(t.Context(), asset); err != nil || string(got) != "assets: {}\n" {
		t.Errorf("got %q, %v", got, err)
	}
	asset.Digest = sum("other")
	if _, err := r.Download(t.Context(), asset); err == nil || !strings.Contains(err.Error(), "got 11 bytes") || !strings.Contains(err.Error(), asset.Digest) {
		t.Errorf("got %v, want both digests", err)
	}
	asset.Size = 3
	if _, err := r.Download(t.Context(), asset); err == nil {
		t.Error("a longer asset than announced is taken")
	}
}

// TestDownloadFaults has downloads that succeed later, and one that never does.
func TestDownloadFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault githubtest.Fault
		asked int
		wrong string
	}{
		"503":     {githubtest.Fault{Times: 2, Status: 503}, 3, ""},
		"half":    {githubtest.Fault{Times: 1, Status: 200, Header: map[string]string{"Content-Length": "11"}, Body: "asse"}, 2, ""},
		"a limit": {githubtest.Fault{Times: 1, Status: 403, Header: map[string]string{"Retry-After": "1"}}, 2, ""},
		"down":    {githubtest.Fault{Times: 100, Status: 503}, 6, "503 Service Unavailable"},
		"refused": {githubtest.Fault{Times: 100, Status: 403}, 1, "403 Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.draft(t)
			added := r.server.Add(r.server.Releases[0], "versions.yaml", []byte("assets: {}\n"))
			test.fault.Request = "^GET .*/releases/assets/"
			r.server.Faults = []*githubtest.Fault{&test.fault}
			asset := Asset{ID: added.ID, Name: "versions.yaml", Size: added.Size, Digest: added.Digest, State: "uploaded"}
			got, err := r.Download(t.Context(), asset)
			if test.wrong == "" && (err != nil || string(got) != "assets: {}\n") || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("got %q, %v, want %q", got, err, test.wrong)
			}
			if n := r.server.Count("GET /repos/" + repository + "/releases/assets/"); n != test.asked {
				t.Errorf("asked %d times, want %d", n, test.asked)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		file  File
		wrong string
	}{
		"good":      {File{Name: "kata-static-3.28.0-rc0-amd64.tar.zst", Size: 1}, ""},
		"largest":   {File{Name: "x", Size: 2147483647}, ""},
		"too large": {File{Name: "x", Size: 2147483648}, "must have fewer than 2147483648"},
		"empty":     {File{Name: "x"}, "rejects empty assets"},
		"special":   {File{Name: "a b", Size: 1}, "cannot be the name"},
		"leading":   {File{Name: ".a", Size: 1}, "cannot be the name"},
		"trailing":  {File{Name: "a.", Size: 1}, "cannot be the name"},
	} {
		err := test.file.Check()
		if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s: got %v, want %q", name, err, test.wrong)
		}
	}
	if err := check([]File{{Name: "a", Size: 1}, {Name: "a", Size: 1}}); err == nil || !strings.Contains(err.Error(), "two files have the name of asset a") {
		t.Errorf("got %v, want the name that is there twice", err)
	}
}

// breaking calls a function after a quarter of 32 MiB was read.
type breaking struct {
	io.ReadCloser
	done   int
	cancel func()
}

func (b *breaking) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.done += n; b.done > 8<<20 {
		b.cancel()
	}
	return n, err
}

// TestReplace ends a run at each request: the old asset stays until its successor is
// there, and the next run leaves only the new one.
func TestReplace(t *testing.T) {
	for after := range 6 {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			r := newRig(t)
			release, one := r.draft(t), file(t, "one.tar.zst", "new")
			r.server.Add(r.server.Releases[0], one.Name, []byte("old"))
			r.server.Add(r.server.Releases[0], "new-0123456789ab-one.tar.zst", []byte("of a run for other content"))
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("enough")
			asked := 0
			_, changes := r.compare(t, release, []File{one})
			r.server.Around = func(w http.ResponseWriter, request *http.Request, serve http.HandlerFunc) {
				if asked++; asked == after {
					serve(httptest.NewRecorder(), request) // The request takes effect, but its answer is lost.
					cancel(why)
					panic(http.ErrAbortHandler)
				}
				serve(w, request)
			}
			err := r.Sync(ctx, release, changes, false)
			if (after > 0 && after < 5) != errors.Is(err, why) {
				t.Fatalf("got %v after %d requests", err, asked)
			}
			there, successors := 0, 0
			for _, asset := range r.server.Release("3.28.0").Assets {
				if asset.Name == one.Name {
					there++
				} else if asset.Digest == one.Digest {
					successors++
				}
			}
			if there+successors == 0 {
				t.Error("neither the old asset nor its successor is there")
			}
			r.server.Do(func() { r.server.Around = nil })
			_, changes = r.compare(t, release, []File{one})
			require.NoError(t, r.Sync(t.Context(), release, changes, false))
			assets := r.server.Release("3.28.0").Assets
			if len(assets) != 1 || assets[0].Name != one.Name || assets[0].Digest != one.Digest || assets[0].Type != "application/zstd" {
				t.Errorf("the assets are %+v, want only the new one", assets)
			}
			if actions, _ := r.compare(t, release, []File{one}); actions[one.Name] != Keep {
				t.Errorf("in the end it is to %s", actions[one.Name])
			}
		})
	}
}

// TestStall has a server that takes no more bytes.
func TestStall(t *testing.T) {
	released := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released }))
	defer server.Close()
	defer close(released)
	client, err := New(Options{API: server.URL, Repository: repository, Pace: web.Pace{Stall: 50 * time.Millisecond}})
	require.NoError(t, err)
	one := file(t, "one", strings.Repeat("x", 32<<20))
	_, err = client.send(t.Context(), Release{UploadURL: server.URL + "/assets{?name}"}, one, one.Name, nil)
	if !errors.Is(err, web.ErrStalled) || !isTemporary(err) {
		t.Errorf("got %v, want a stall", err)
	}
}
