// Package githubtest is a GitHub for tests: the part of its REST API that
// releases are made with, as the real one behaves. Drafts are shown to those who
// may write, and not under their tag; two drafts of a tag are no error, two
// assets of a name are; an upload that breaks off leaves an asset in state
// "starter", which only the list of assets shows; lists come in pages; a tag is
// made when a release is published.
package githubtest

import (
	"encoding/json"
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
	// Repository is "owner/name", and FullName its name of today.
	Repository, FullName string
	// PageSize is the most that a page of a list holds.
	PageSize int
	// Immutable has releases frozen once they are published.
	Immutable bool
	// NoDigests hides the digests of assets, as Enterprise Server does.
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

// New starts a Server for a repository, which ends with the test.
func New(t testing.TB, repository string) *Server {
	s := &Server{Repository: repository, FullName: repository, PageSize: 100, Tags: map[string]string{}}
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
	return len(slices.DeleteFunc(s.Requests(), func(request string) bool { return !strings.HasPrefix(request, prefix) }))
}

// Changes returns how often anything was made, changed or deleted.
func (s *Server) Changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
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
	s.mu.Lock()
	around := s.Around
	s.mu.Unlock()
	if around != nil {
		around(w, r, s.serve)
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
	path, found := strings.CutPrefix(r.URL.Path, "/repos/"+s.Repository)
	switch {
	case !ok:
	case fault != nil:
		fault.meet(s, w, r)
	case found && path == "":
		answer(w, http.StatusOK, map[string]string{"full_name": s.FullName})
	case found && path[0] == '/':
		s.route(w, r, access, path[1:])
	default:
		problem(w, http.StatusNotFound, "Not Found")
	}
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
	if r.Method != http.MethodGet && access == public {
		problem(w, http.StatusUnauthorized, "Requires authentication")
		return
	}
	if r.Method != http.MethodGet && access != writes {
		problem(w, http.StatusForbidden, "Resource not accessible by personal access token")
		return
	}
	parts := append(strings.Split(path, "/"), "", "")
	if r.Method == http.MethodPost && parts[2] == "assets" {
		s.upload(w, r, number(parts[1])) // The lock is not held while the body comes.
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != http.MethodGet {
		s.changes++
	}
	switch {
	case parts[0] == "commits":
		s.commit(w, strings.TrimPrefix(path, "commits/"))
	case path == "releases" && r.Method == http.MethodGet:
		s.list(w, r, access)
	case path == "releases":
		s.create(w, r)
	case path == "releases/latest":
		s.latest(w)
	case parts[0] == "releases" && parts[1] == "assets":
		s.asset(w, r, access, number(parts[2]))
	case parts[0] == "releases" && parts[2] == "assets":
		s.assets(w, r, access, number(parts[1]))
	case parts[0] == "releases":
		s.release(w, r, access, number(parts[1]))
	default:
		problem(w, http.StatusNotFound, "Not Found")
	}
}

// number returns an id, -1 for none.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // A client that went away has no use for the error.
}

// field is one of the values that GitHub rejects.
type field struct {
	Resource string `json:"resource"`
	Code     string `json:"code"`
	Field    string `json:"field"`
	Message  string `json:"message,omitempty"`
}

func problem(w http.ResponseWriter, status int, message string, fields ...field) {
	answer(w, status, map[string]any{"message": message, "errors": fields, "documentation_url": "https://docs.github.com/rest"})
}

func invalid(w http.ResponseWriter, resource, name, code, message string) {
	problem(w, http.StatusUnprocessableEntity, "Validation Failed", field{Resource: resource, Field: name, Code: code, Message: message})
}
