// Package githubtest is a GitHub for tests: the part of its REST API that
// releases are made with, as the real one behaves. Drafts are shown to those who
// may write, and not under their tag; two drafts of a tag are no error, two
// assets of a name are; an upload that breaks off leaves an asset in state
// "starter", which only the list of assets shows; lists come in pages; a tag is
// made when a release is published.
package githubtest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tokens that a Server knows.
const (
	Token       = "ghp_writes0000000000000000000000000000000"
	ReaderToken = "ghp_reads00000000000000000000000000000000"
)

// Server is one repository of a GitHub. Its fields may be set before the first
// request, and between requests through Do.
type Server struct {
	// Repository is "owner/name".
	Repository string
	// PageSize is the most that a page of a list holds.
	PageSize int
	// Immutable has releases frozen once they are published.
	Immutable bool
	// NoDigests has GitHub say no digest of any asset, as Enterprise Server does.
	NoDigests bool
	// Commits are those that were pushed, Tags the commits of tags.
	Commits []string
	Tags    map[string]string
	// Releases are in the order of their making.
	Releases []*Release
	// Around, where it is set, gets each request, and serves it with serve, or not.
	Around func(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc)
	// Faults are met in order; see Fault.
	Faults []*Fault

	mu       sync.Mutex
	server   *httptest.Server
	lastID   int64
	requests []string
	changes  int
}

// Release is a release of a Server.
type Release struct {
	ID                           int64
	Tag, Target, Name, Body      string
	Draft, Prerelease, Immutable bool
	Latest                       bool
	Created, Published           time.Time
	Assets                       []*Asset
}

// Asset is a file of a release.
type Asset struct {
	ID           int64
	Name, State  string
	Digest, Type string
	Size         int64
	Content      []byte
}

// New starts a Server for a repository, which ends with the test.
func New(t testing.TB, repository string) *Server {
	s := &Server{Repository: repository, PageSize: 100, Tags: map[string]string{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// URL is the address of the API.
func (s *Server) URL() string { return s.server.URL }

// Do calls a function while no request is served.
func (s *Server) Do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// Requests returns all requests so far, as "METHOD /path?query".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests began with a text.
func (s *Server) Count(prefix string) int {
	n := 0
	for _, request := range s.Requests() {
		if strings.HasPrefix(request, prefix) {
			n++
		}
	}
	return n
}

// Changes returns how often anything was made, changed or deleted.
func (s *Server) Changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// Release returns the first release of a tag, or nil.
func (s *Server) Release(tag string) *Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.Releases, func(r *Release) bool { return r.Tag == tag })
	if i < 0 {
		return nil
	}
	copied := *s.Releases[i]
	copied.Assets = slices.Clone(copied.Assets)
	return &copied
}

// Asset returns the asset of a name, or nil.
func (r *Release) Asset(name string) *Asset {
	i := slices.IndexFunc(r.Assets, func(a *Asset) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return r.Assets[i]
}

// access is what a request may do.
type access int

const (
	public access = iota
	reads
	writes
)

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Around != nil {
		s.Around(w, r, s.serve)
		return
	}
	s.serve(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/storage/") {
		s.storage(w, r)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	fault := s.fault(r)
	s.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	access, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	if fault != nil {
		fault.meet(s, w, r)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/repos/"+s.Repository+"/")
	if !ok {
		problem(w, http.StatusNotFound, "Not Found")
		return
	}
	s.route(w, r, access, rest)
}

// authenticate refuses what GitHub does: clients without a name, and tokens that
// are not valid, also for what anybody may read.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (access, bool) {
	if r.Header.Get("User-Agent") == "" {
		problem(w, http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
		return public, false
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	known := strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "token")
	switch {
	case scheme == "":
		return public, true
	case known && token == Token:
		return writes, true
	case known && token == ReaderToken:
		return reads, true
	}
	problem(w, http.StatusUnauthorized, "Bad credentials")
	return public, false
}

// route finds who serves a request to the repository.
func (s *Server) route(w http.ResponseWriter, r *http.Request, access access, path string) {
	parts := strings.Split(path, "/")
	number := func(i int) int64 {
		n, err := strconv.ParseInt(parts[i], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	if r.Method != http.MethodGet && access != writes {
		if access == public {
			problem(w, http.StatusUnauthorized, "Requires authentication")
		} else {
			problem(w, http.StatusForbidden, "Resource not accessible by personal access token")
		}
		return
	}
	if r.Method == http.MethodPost && len(parts) == 3 && parts[2] == "assets" {
		s.upload(w, r, number(1)) // The lock is not held while the body comes.
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != http.MethodGet {
		s.changes++
	}
	switch {
	case parts[0] == "commits" && len(parts) > 1:
		s.commit(w, strings.Join(parts[1:], "/"))
	case parts[0] != "releases":
		problem(w, http.StatusNotFound, "Not Found")
	case len(parts) == 1 && r.Method == http.MethodGet:
		s.list(w, r, access)
	case len(parts) == 1 && r.Method == http.MethodPost:
		s.create(w, r)
	case len(parts) == 2 && parts[1] == "latest":
		s.latest(w)
	case len(parts) == 3 && parts[1] == "tags":
		s.tagged(w, parts[2])
	case len(parts) == 3 && parts[1] == "assets":
		s.asset(w, r, access, number(2))
	case len(parts) == 3 && parts[2] == "assets":
		s.assets(w, r, access, number(1))
	case len(parts) == 2:
		s.release(w, r, access, number(1))
	default:
		problem(w, http.StatusNotFound, "Not Found")
	}
}
