package source

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// wantAnswer holds an answer against its error: "" for none; "!..." for a *Mismatch.
func wantAnswer(t *testing.T, what string, err error, want string) {
	t.Helper()
	text, other := strings.CutPrefix(want, "!")
	if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), text) || errors.As(err, new(*Mismatch)) != other) {
		t.Errorf("%s: answers %v, want %q", what, err, want)
	}
}

// A file in the cache is not an answer, and a server that refuses HEAD may have the file.
func TestAnswersURL(t *testing.T) {
	method := ""
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		method += r.Method + " "
		switch {
		case r.URL.Path == "/gone":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/get" && r.Method == http.MethodHead:
			w.WriteHeader(http.StatusMethodNotAllowed)
		default:
			return false
		}
		return true
	})
	f := fetcher(t)
	right := place("upstream", s.URL, content)
	if _, err := f.Fetch(t.Context(), linux(right), nil); err != nil {
		t.Fatal(err)
	}
	sized := right
	sized.Size = 7
	for what, test := range map[string]struct {
		place   versions.Place
		methods string
		want    string
	}{
		"there":      {right, "HEAD ", ""},
		"other size": {sized, "HEAD ", "!1048576 bytes and 7 bytes is declared"},
		"gone":       {place("upstream", s.URL+"/gone", content), "HEAD ", "404 Not Found"},
		"no HEAD":    {place("upstream", s.URL+"/get", content), "HEAD GET ", ""},
		"no server":  {place("upstream", nobody, content), "", "refused"},
	} {
		method = ""
		wantAnswer(t, what, f.Answers(t.Context(), linux(test.place), test.place), test.want)
		if method != test.methods {
			t.Errorf("%s: requests %s, want %s", what, method, test.methods)
		}
	}
}

// The index may list a file that is gone.
func TestAnswersDebian(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusNotFound)
		}
		return r.URL.Path == "/gone"
	})
	entry := versions.Debian{Package: "linux", Version: "6.18.15-1", Suite: "trixie", File: "linux.tar"}
	p := versions.Place{Name: "debian", Debian: &entry, SHA256: hashText("right")}
	for want, index := range map[string]index{
		"":        {t, entry, debian.Archive{URL: s.URL, SHA256: hashText("right"), Size: int64(len(content))}, nil},
		"404":     {t, entry, debian.Archive{URL: s.URL + "/gone", SHA256: hashText("right")}, nil},
		"!sha256": {t, entry, debian.Archive{URL: s.URL, SHA256: hashText("other")}, nil},
		"is gone": {t, entry, debian.Archive{}, errors.New("it is gone")},
	} {
		f := fetcher(t)
		f.Debian = index
		wantAnswer(t, "debian", f.Answers(t.Context(), linux(p), p), want)
	}
	wantAnswer(t, "no index", fetcher(t).Answers(t.Context(), linux(p), p), "no Debian index")
}

func TestAnswersGit(t *testing.T) {
	dir, commit := repository(t)
	const absent = "0123456789012345678901234567890123456789"
	for _, test := range []struct {
		git  versions.Git
		want string
	}{
		{versions.Git{URL: dir, Commit: commit}, ""},
		{versions.Git{URL: dir, Commit: absent}, "has no commit " + absent},
		{versions.Git{URL: dir, Ref: "v1"}, ""},
		{versions.Git{URL: dir, Ref: "v2"}, "has no tag or branch v2"},
		{versions.Git{URL: dir + "/none", Commit: commit}, "running git fetch"},
		{versions.Git{URL: dir + "/none", Ref: "v1"}, "does not answer"},
	} {
		p := versions.Place{Name: "git", Git: &test.git}
		f := fetcher(t)
		wantAnswer(t, test.git.Commit+test.git.Ref, f.Answers(t.Context(), linux(p), p), test.want)
		if left, err := filepath.Glob(filepath.Join(f.Dir, "scratch-*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// Go's module cache must not answer for the proxy.
func TestAnswersGo(t *testing.T) {
	proxy := t.TempDir()
	publish(t, proxy, "example.com/m", "v1.0.0", "", "")
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GOMODCACHE", t.TempDir())
	f := fetcher(t)
	p := versions.Place{Name: "go", GoProxy: &versions.GoModule{Module: "example.com/m", Version: "v1.0.0"}}
	wantAnswer(t, "there", f.Answers(t.Context(), linux(p), p), "")
	if err := os.RemoveAll(filepath.Join(proxy, "example.com")); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "gone", f.Answers(t.Context(), linux(p), p), "v1.0.0")
}
