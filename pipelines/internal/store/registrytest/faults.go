package registrytest

import (
	"net/http"
	"regexp"
	"sync"
)

// Rule is one fault: what happens to requests of a method ("" is any) whose path
// matches a pattern. Nth is which of them, from 1; 0 is all.
type Rule struct {
	Method, Path string
	Nth          int
	Do           Action
}

// Action performs a request with a fault.
type Action func(request *http.Request, base http.RoundTripper) (*http.Response, error)

// Faults is a transport with faults on the way. The first rule that fits a
// request is the one that it meets.
type Faults struct {
	// Base carries the requests; nil means http.DefaultTransport.
	Base  http.RoundTripper
	Rules []Rule

	mu       sync.Mutex
	met      map[int]int
	requests []string
}

// RoundTrip performs one request.
func (f *Faults) RoundTrip(request *http.Request) (*http.Response, error) {
	base := f.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if do := f.rule(request); do != nil {
		return do(request, base)
	}
	return base.RoundTrip(request)
}

func (f *Faults) rule(request *http.Request) Action {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := request.Method + " " + request.URL.Path
	if from := request.Header.Get("Range"); from != "" {
		text += " " + from
	}
	f.requests = append(f.requests, text)
	if f.met == nil {
		f.met = map[int]int{}
	}
	for i, rule := range f.Rules {
		if rule.Method != "" && rule.Method != request.Method || !regexp.MustCompile(rule.Path).MatchString(request.URL.Path) {
			continue
		}
		f.met[i]++
		if rule.Nth == 0 || rule.Nth == f.met[i] {
			return rule.Do
		}
	}
	return nil
}

// Requests returns all requests so far: method, path, and the range if any.
func (f *Faults) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

// Met returns how many requests a rule has fitted.
func (f *Faults) Met(rule int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.met[rule]
}
