package githubtest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Leave says what a request that meets a fault leaves behind.
type Leave int

// What a fault leaves.
const (
	// Nothing is left: the request is refused.
	Nothing Leave = iota
	// Starter leaves an asset of which no byte arrived.
	Starter
	// Done leaves everything done, and the answer is a failure all the same.
	Done
	// Damaged leaves an asset with other content, and an answer that says so.
	Damaged
)

// Fault is what happens to some requests.
type Fault struct {
	// Request is a pattern of "METHOD /path?query".
	Request string
	// Skip is how many such requests go well before, Times how many meet it.
	Skip, Times int
	// Status, Header and Body are the answer. A Status of 0 breaks the connection.
	Status int
	Header map[string]string
	Body   string
	Leave  Leave
}

// fault returns the one that a request meets, or nil.
func (s *Server) fault(r *http.Request) *Fault {
	for _, fault := range s.Faults {
		if !regexp.MustCompile(fault.Request).MatchString(r.Method + " " + r.URL.RequestURI()) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		if fault.Times > 0 {
			fault.Times--
			return fault
		}
	}
	return nil
}

// meet answers with the fault.
func (f *Fault) meet(s *Server, w http.ResponseWriter, r *http.Request) {
	path := cut(r.URL.Path, "/repos/"+s.Repository+"/")
	switch f.Leave {
	case Done:
		s.route(discarding{http.Header{}}, r, writes, path)
	case Starter:
		if asset, ok := s.begin(discarding{http.Header{}}, r, releaseOf(path)); ok {
			asset.State = starter
		}
	case Damaged:
		body, err := io.ReadAll(r.Body)
		if err == nil && len(body) > 0 {
			body[0] ^= 1
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		s.route(w, r, writes, path)
		return
	case Nothing:
	}
	if f.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Header)) {
		w.Header().Set(name, f.Header[name])
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body) // A client that went away has no use for the error.
}

// discarding is an answer that nobody gets.
type discarding struct{ header http.Header }

// Header is that of the answer.
func (d discarding) Header() http.Header { return d.header }

// Write writes nothing.
func (d discarding) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader writes nothing.
func (d discarding) WriteHeader(int) {}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // A client that went away has no use for the error.
}

// fieldJSON is one of the values that GitHub does not take.
type fieldJSON struct {
	Resource string `json:"resource"`
	Code     string `json:"code"`
	Field    string `json:"field"`
	Message  string `json:"message,omitempty"`
}

type problemJSON struct {
	Message       string      `json:"message"`
	Errors        []fieldJSON `json:"errors,omitempty"`
	Documentation string      `json:"documentation_url"`
}

func problem(w http.ResponseWriter, status int, message string) {
	answer(w, status, problemJSON{Message: message, Documentation: "https://docs.github.com/rest"})
}

func invalid(w http.ResponseWriter, resource, field, code, message string) {
	answer(w, http.StatusUnprocessableEntity, problemJSON{
		Message: "Validation Failed", Documentation: "https://docs.github.com/rest",
		Errors: []fieldJSON{{Resource: resource, Field: field, Code: code, Message: message}},
	})
}

// releaseOf returns the id in "releases/ID/assets", -1 in another path.
func releaseOf(path string) int64 {
	id, err := strconv.ParseInt(strings.TrimSuffix(cut(path, "releases/"), "/assets"), 10, 64)
	if err != nil {
		return -1
	}
	return id
}

// cut returns what follows a prefix, "" where a text does not have it.
func cut(text, prefix string) string {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return ""
	}
	return rest
}
