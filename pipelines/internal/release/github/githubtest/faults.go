package githubtest

import (
	"io"
	"net/http"
	"regexp"
	"strings"
)

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
