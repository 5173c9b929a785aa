package source

import (
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// The hash of a file is learned from one whole response, and a declared one is checked.
func TestLearnURL(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/broken" {
			drop(w)
		}
		return false
	})
	f := fetcher(t)
	p := place("upstream", s.URL, content)
	p.SHA256 = ""
	want := Learned{SHA256: hashText(string(content)), Size: int64(len(content)), Path: f.final(hashText(string(content)))}
	if got, err := f.Learn(t.Context(), "linux", p, nil); err != nil || got != want {
		t.Errorf("learned %+v, %v, want %+v", got, err, want)
	}
	declared := place("upstream", s.URL, content)
	before := len(s.asked())
	if got, err := f.Learn(t.Context(), "linux", declared, nil); err != nil || got != want || len(s.asked()) > before {
		t.Errorf("from the cache: %+v, %v", got, err)
	}
	_, err := f.Learn(t.Context(), "linux", place("upstream", s.URL, []byte("other")), nil)
	if !errors.As(err, new(*Mismatch)) {
		t.Errorf("other bytes: %v", err)
	}
	p.URL = s.URL + "/broken"
	before = len(s.asked())
	if got, err := f.Learn(t.Context(), "linux", p, nil); err == nil || !strings.Contains(err.Error(), "/broken: ") || len(s.asked()) != before+1 {
		t.Errorf("of a broken download: %+v, %v after %d requests", got, err, len(s.asked())-before)
	}
}

// A module that the go command does not check against the checksum database is unchecked.
func TestLearnGo(t *testing.T) {
	proxy := t.TempDir()
	whole, _ := publish(t, proxy, "example.com/m", "v1.0.0", "", "")
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-modcacherw")
	p := versions.Place{Name: "go", Go: &versions.GoModule{Module: "example.com/m", Version: "v1.0.0"}}
	_, key, err := note.GenerateKey(rand.Reader, "sumdb.example")
	if err != nil {
		t.Fatal(err)
	}
	silent := key + " http://127.0.0.1:1"
	for _, env := range [][2]string{{"GOSUMDB", "off"}, {"GONOSUMDB", "example.com"}} {
		t.Setenv(env[0], env[1])
		if got, err := fetcher(t).Learn(t.Context(), "m", p, nil); err != nil || got != (Learned{Sum: whole}) {
			t.Errorf("%s: learned %+v, %v", env[0], got, err)
		}
		t.Setenv("GOSUMDB", silent)
	}
	t.Setenv("GONOSUMDB", "")
	_, err = fetcher(t).Learn(t.Context(), "m", p, nil) // The database does not answer.
	wantError(t, err, "example.com/m", "name the module in $GONOSUMDB")
}

func TestTagsAndSubmodules(t *testing.T) {
	dir, commit := repository(t)
	f := fetcher(t)
	tags, err := f.Tags(t.Context(), dir)
	if err != nil || !maps.Equal(tags, map[string]string{"v1": commit}) {
		t.Errorf("tags %v, %v, want v1 at %s", tags, err, commit)
	}
	links, err := f.Submodules(t.Context(), dir, commit)
	if err != nil || len(links) > 0 {
		t.Errorf("submodules %v, %v", links, err)
	}
	_, err = f.Tags(t.Context(), dir+"/none")
	wantError(t, err, "none does not answer")
}

// A server that refuses is told from one that does not answer.
func TestText(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusNotFound)
		}
		return r.URL.Path == "/gone"
	})
	f := fetcher(t)
	if text, err := f.Text(t.Context(), s.URL); err != nil || text != string(content) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	var refused *web.Unavailable
	if _, err := f.Text(t.Context(), s.URL+"/gone"); !errors.As(err, &refused) || refused.Response == nil {
		t.Errorf("refused: %v", err)
	}
	if _, err := f.Text(t.Context(), nobody); !errors.As(err, &refused) || refused.Response != nil {
		t.Errorf("no answer: %v", err)
	}
}

func TestUpstreamVersions(t *testing.T) {
	registry, configured := program(t)
	f, _ := configured()
	registry.publish("server", "1.3.0", map[string]string{"Cargo.toml": ""})
	list, err := f.Crates(t.Context(), "server")
	if err != nil || !slices.Equal(list, []string{"1.2.0", "1.3.0"}) {
		t.Errorf("crates %v, %v", list, err)
	}
	registry.yank("server")
	if list, err := f.Crates(t.Context(), "server"); err != nil || !slices.Equal(list, []string{"1.3.0"}) {
		t.Errorf("crates without the yanked one: %v, %v", list, err)
	}
}
