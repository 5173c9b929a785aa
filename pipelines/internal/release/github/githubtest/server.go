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

// question is a request to the repository, and the head of its answer.
type question struct {
	*http.Request
	access access
	head   http.Header
	// parts are those of the path below the repository, "" beyond its end.
	parts []string
}

// id is the number in a part of the path, -1 where it is none.
func (q question) id(part int) int64 {
	n, err := strconv.ParseInt(q.parts[part], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/storage/") {
		s.storage(w, r)
		return
	}
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	fault := s.fault(r)
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	path, found := strings.CutPrefix(r.URL.Path, "/repos/"+s.Repository)
	q := question{Request: r, head: w.Header(), parts: append(strings.Split(strings.TrimPrefix(path, "/"), "/"), "", "", "")}
	status, refusal := s.authenticate(&q)
	switch {
	case status != http.StatusOK:
		reply(w, status, refusal)
	case fault != nil:
		fault.meet(s, w, q)
	case !found:
		reply(w, http.StatusNotFound, notFound)
	default:
		status, value := s.answer(q)
		reply(w, status, value)
	}
}

// authenticate refuses what GitHub does: clients without a name, tokens that are
// not valid, also for what anybody may read, and changes without the right to.
func (s *Server) authenticate(q *question) (int, any) {
	scheme, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	switch {
	case q.Header.Get("User-Agent") == "":
		return http.StatusForbidden, problem{Message: "Request forbidden by administrative rules. Please make sure your request has a User-Agent header"}
	case strings.EqualFold(scheme, "bearer") && token == Token:
		q.access = writes
	case strings.EqualFold(scheme, "bearer") && token == ReaderToken:
		q.access = reads
	case scheme != "":
		return http.StatusUnauthorized, problem{Message: "Bad credentials"}
	}
	switch {
	case q.Method == http.MethodGet || q.access == writes:
		return http.StatusOK, nil
	case q.access == public:
		return http.StatusUnauthorized, problem{Message: "Requires authentication"}
	}
	return http.StatusForbidden, problem{Message: "Resource not accessible by personal access token"}
}

// answer finds the answer to a question.
func (s *Server) answer(q question) (int, any) {
	if q.Method != http.MethodGet {
		s.changes++
	}
	switch parts := q.parts; {
	case parts[0] == "":
		return http.StatusOK, map[string]string{"full_name": s.FullName}
	case parts[0] == "commits":
		return s.commit(strings.Trim(strings.Join(parts[1:], "/"), "/"))
	case parts[0] != "releases":
		return http.StatusNotFound, notFound
	case parts[1] == "" && q.Method == http.MethodGet:
		return s.list(q)
	case parts[1] == "":
		return s.create(q)
	case parts[1] == "assets":
		return s.asset(q)
	case parts[2] == "assets" && q.Method == http.MethodPost:
		return s.upload(q)
	case parts[2] == "assets":
		return s.assets(q)
	}
	return s.release(q)
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if value != nil {
		_ = json.NewEncoder(w).Encode(value) // A client that went away has no use for the error.
	}
}

// problem is the content of a refusal.
type problem struct {
	Message       string  `json:"message"`
	Errors        []field `json:"errors,omitempty"`
	Documentation string  `json:"documentation_url"`
}

// field is one of the values that GitHub rejects.
type field struct {
	Resource string `json:"resource"`
	Field    string `json:"field"`
	Code     string `json:"code"`
	Message  string `json:"message,omitempty"`
}

var notFound = problem{Message: "Not Found"}

func invalid(rejected field) (int, any) {
	return http.StatusUnprocessableEntity, problem{Message: "Validation Failed", Errors: []field{rejected}}
}
