// Package githubtest is a GitHub for tests: the part of its REST API that releases are
// made with, as the real one behaves. Drafts are shown to those who may write, and not
// under their tag; two drafts of a tag are allowed, two assets of a name are not; an
// upload that breaks off leaves an asset in state "starter", which only the list of
// assets shows; lists come in pages; a tag is made when a release is published; a
// repository that was renamed redirects.
//
// It checks only what a client can get wrong, not every value of a request.
package githubtest

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/google/go-github/v82/github"
)

// The tokens that a Server knows.
const (
	Token       = "ghp_writes0000000000000000000000000000000"
	ReaderToken = "ghp_reads00000000000000000000000000000000"
)

// Server is one repository of a GitHub. Its fields may be set before the first
// request, and between requests through Do.
type Server struct {
	// Repository is "owner/name". If FullName is set, the repository was renamed to
	// that, and requests are redirected with the status Moved.
	Repository, FullName string
	Moved                int
	// PageSize limits the entries on a page of a list.
	PageSize int
	// Commits are those that were pushed, Tags the commits of tags.
	Commits []string
	Tags    map[string]string
	// Releases are in the order of their creation.
	Releases []*Release
	// Around, if set, gets each request, and may pass it to serve.
	Around func(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc)
	// Faults are met in order; see Fault.
	Faults []*Fault

	mu       sync.Mutex
	server   *httptest.Server
	lastID   int64
	requests []string
	changes  int
}

// Leave says what a request that meets a fault leaves behind.
type Leave int

// What a fault leaves.
const (
	// Nothing is left: the request is refused.
	Nothing Leave = iota
	// Starter leaves an asset without content.
	Starter
	// Done leaves everything done, and answers with a failure.
	Done
	// Damaged leaves an asset with other content, and an answer that says so.
	Damaged
)

// Fault is what happens to some requests.
type Fault struct {
	// Request is a pattern of "METHOD /path?query".
	Request string
	// Skip is how many such requests succeed first, Times how many then meet it.
	Skip, Times int
	// Status, Header and Body are the answer. A Status of 0 breaks the connection.
	Status int
	Header map[string]string
	Body   string
	Leave  Leave
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
func (s *Server) Requests() (all []string) {
	s.Do(func() { all = slices.Clone(s.requests) })
	return all
}

// Count returns how many requests begin with a prefix.
func (s *Server) Count(prefix string) int {
	return len(slices.DeleteFunc(s.Requests(), func(request string) bool { return !strings.HasPrefix(request, prefix) }))
}

// Changes returns how often anything was made, changed or deleted.
func (s *Server) Changes() (n int) {
	s.Do(func() { n = s.changes })
	return n
}

// question is a request below the repository, and the head of its answer.
type question struct {
	*http.Request
	path string
	head http.Header
	// writes is true for those who may write, id the first number of the path.
	writes bool
	id     int64
}

// into decodes the body of the request, which is taken to be valid.
func (q question) into(value any) { _ = json.NewDecoder(q.Body).Decode(value) }

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
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/storage/") {
		s.storage(w, r)
		return
	}
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	fault := s.fault(r)
	path, byName := strings.CutPrefix(r.URL.Path, "/repos/"+s.Repository)
	path, byID := strings.CutPrefix(path, "/repositories/1")
	q := question{Request: r, path: path, head: w.Header()}
	q.id, _ = strconv.ParseInt(number.FindString(path), 10, 64)
	status, refusal := q.authenticate()
	switch {
	case status != http.StatusOK:
		reply(w, status, refusal)
	case fault != nil:
		fault.meet(s, w, q)
	case byName && s.FullName != "":
		w.Header().Set("Location", s.server.URL+"/repositories/1"+path+"?"+r.URL.RawQuery)
		reply(w, s.Moved, api.ErrorResponse{Message: "Moved Permanently"})
	case !byName && !byID:
		reply(w, http.StatusNotFound, notFound)
	default:
		status, value := s.answer(q)
		reply(w, status, value)
	}
}

// fault returns the one that a request meets, or nil.
func (s *Server) fault(r *http.Request) *Fault {
	for _, fault := range s.Faults {
		switch {
		case !regexp.MustCompile(fault.Request).MatchString(r.Method + " " + r.URL.RequestURI()):
		case fault.Skip > 0:
			fault.Skip--
		case fault.Times > 0:
			fault.Times--
			return fault
		}
	}
	return nil
}

func (f *Fault) meet(s *Server, w http.ResponseWriter, q question) {
	switch f.Leave {
	case Done:
		q.head = http.Header{}
		s.answer(q)
	case Starter:
		s.changes++
		_, _, _ = s.begin(q)
	case Damaged:
		body, err := io.ReadAll(q.Body)
		if err == nil && len(body) > 0 {
			body[0] ^= 1
		}
		q.Body = io.NopCloser(strings.NewReader(string(body)))
		status, value := s.answer(q)
		reply(w, status, value)
		return
	case Nothing:
	}
	if f.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body) // A client that went away has no use for the error.
}

// authenticate refuses what GitHub does: invalid tokens, even for public data, and
// changes without permission.
func (q *question) authenticate() (int, any) {
	token := q.Header.Get("Authorization")
	q.writes = token == "Bearer "+Token
	switch {
	case token != "" && token != "Bearer "+ReaderToken && !q.writes:
		return http.StatusUnauthorized, api.ErrorResponse{Message: "Bad credentials"}
	case q.Method == http.MethodGet || q.writes:
		return http.StatusOK, nil
	case token == "":
		return http.StatusUnauthorized, api.ErrorResponse{Message: "Requires authentication"}
	}
	return http.StatusForbidden, api.ErrorResponse{Message: "Resource not accessible by personal access token"}
}

var number = regexp.MustCompile(`[0-9]+`)

// answer finds the answer to a question.
func (s *Server) answer(q question) (int, any) {
	if q.Method != http.MethodGet {
		s.changes++
	}
	if reference, found := strings.CutPrefix(q.path, "/commits/"); found {
		return s.commit(reference)
	}
	switch q.Method + " " + number.ReplaceAllString(q.path, "N") {
	case "GET ":
		return http.StatusOK, map[string]string{"full_name": cmp.Or(s.FullName, s.Repository)}
	case "GET /releases":
		return s.list(q)
	case "POST /releases":
		return s.create(q)
	case "PATCH /releases/N", "DELETE /releases/N":
		return s.change(q)
	case "GET /releases/N/assets":
		return http.StatusOK, page(s, q, s.find(q).Assets)
	case "POST /releases/N/assets":
		return s.upload(q)
	case "GET /releases/assets/N", "PATCH /releases/assets/N", "DELETE /releases/assets/N":
		return s.asset(q)
	}
	return http.StatusNotFound, notFound
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if value != nil {
		_ = json.NewEncoder(w).Encode(value) // A client that went away has no use for the error.
	}
}

var notFound = api.ErrorResponse{Message: "Not Found"}

func invalid(resource, name, code string) (int, any) {
	return http.StatusUnprocessableEntity, api.ErrorResponse{Message: "Validation Failed", Errors: []api.Error{{Resource: resource, Field: name, Code: code}}}
}
