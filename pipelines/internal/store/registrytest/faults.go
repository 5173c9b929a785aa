package registrytest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Rule is a fault: an action for requests with a method ("" is any) and a path that
// matches a pattern. Nth selects one of them, counted from 1; 0 selects all.
type Rule struct {
	Method, Path string
	Nth          int
	Do           Action
}

// Action performs a request with a fault.
type Action func(request *http.Request, base http.RoundTripper) (*http.Response, error)

// Faults is a transport that injects faults. A request meets the first rule that matches.
type Faults struct {
	// Base carries the requests; nil means http.DefaultTransport.
	Base  http.RoundTripper
	Rules []Rule

	mu       sync.Mutex
	met      map[int]int
	requests []string
}

// RoundTrip sends a request.
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
	f.requests = append(f.requests, strings.TrimSpace(request.Method+" "+request.URL.Path+" "+request.Header.Get("Range")))
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

// Requests returns all requests so far: method, path, and range, if any.
func (f *Faults) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

// Met returns how many requests have matched a rule.
func (f *Faults) Met(rule int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.met[rule]
}

// Status answers with a status, and with headers given as pairs, in place of the registry.
func Status(code int, headers ...string) Action {
	return func(request *http.Request, _ http.RoundTripper) (*http.Response, error) {
		closeBody(request)
		body := fmt.Sprintf(`{"errors":[{"code":"FAULT","message":"fault %d"}]}`, code)
		response := &http.Response{
			StatusCode: code, Status: fmt.Sprint(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}}, Request: request,
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}
		for i := 0; i+1 < len(headers); i += 2 {
			response.Header.Set(headers[i], headers[i+1])
		}
		return response, nil
	}
}

func closeBody(request *http.Request) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
}

// Refuse refuses the connection, like a registry that is down.
func Refuse() Action {
	return func(request *http.Request, _ http.RoundTripper) (*http.Response, error) {
		closeBody(request)
		return nil, fmt.Errorf("dial tcp %s: connect: %w", request.URL.Host, syscall.ECONNREFUSED)
	}
}

// Hang calls reached, and sends nothing until the request's context ends.
func Hang(reached func()) Action {
	return func(request *http.Request, _ http.RoundTripper) (*http.Response, error) {
		return nil, hang(request.Context(), reached)
	}
}

func hang(ctx context.Context, reached func()) error {
	if reached != nil {
		reached()
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// NoRange answers like a server without support for ranges.
func NoRange() Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		request = request.Clone(request.Context())
		request.Header.Del("Range")
		return base.RoundTrip(request)
	}
}

// body is a body with a fault: it ends after left bytes with the error of end, has the
// byte at the offset wrong changed, or pauses before each read.
type body struct {
	io.ReadCloser
	request     context.Context
	left, wrong int64
	end         func(request context.Context) error
	pause       time.Duration
}

func (b *body) Read(p []byte) (int, error) {
	if b.end != nil && b.left <= 0 {
		return 0, b.end(b.request)
	}
	time.Sleep(b.pause)
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	if b.wrong >= 0 && b.wrong < int64(n) {
		p[b.wrong] ^= 1
	}
	b.wrong -= int64(n)
	if b.end != nil {
		b.left -= int64(n)
	}
	return n, err
}

// answering gives the body of a successful response a fault.
func answering(b body) Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := base.RoundTrip(request)
		if err == nil && response.StatusCode < http.StatusMultipleChoices {
			changed := b
			changed.ReadCloser, changed.request = response.Body, request.Context()
			response.Body = &changed
		}
		return response, err
	}
}

// sending ends the body of a request after n bytes.
func sending(n int64, end func(request context.Context) error) Action {
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		changed := request.Clone(request.Context())
		if request.Body != nil {
			changed.Body = &body{ReadCloser: request.Body, request: request.Context(), left: n, wrong: -1, end: end}
		}
		return base.RoundTrip(changed)
	}
}

func reset(context.Context) error { return syscall.ECONNRESET }

func stall(reached func()) func(context.Context) error {
	return func(request context.Context) error { return hang(request, reached) }
}

// Reset loses the connection after n bytes of the response's body.
func Reset(n int64) Action { return answering(body{left: n, wrong: -1, end: reset}) }

// End ends the response's body after n bytes, before the declared length, like a proxy
// that lost its own connection.
func End(n int64) Action {
	return answering(body{left: n, wrong: -1, end: func(context.Context) error { return io.ErrUnexpectedEOF }})
}

// Stall delivers n bytes of the response's body, calls reached, which may be nil, and
// delivers no more until the request's context ends.
func Stall(n int64, reached func()) Action {
	return answering(body{left: n, wrong: -1, end: stall(reached)})
}

// Slow delivers the response's body with a pause before each n bytes.
func Slow(n int64, pause time.Duration) Action {
	return answering(body{left: n, wrong: -1, pause: pause})
}

// Wrong changes the byte at an offset of the response's body.
func Wrong(at int64) Action { return answering(body{left: 1 << 20, wrong: at}) }

// Truncate cuts the response's body after n bytes, and its declared length, too.
func Truncate(n int64) Action {
	cut := answering(body{left: n, wrong: -1, end: func(context.Context) error { return io.EOF }})
	return func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := cut(request, base)
		if err == nil && response.StatusCode < http.StatusMultipleChoices {
			response.ContentLength = n
			response.Header.Set("Content-Length", fmt.Sprint(n))
		}
		return response, err
	}
}

// ResetBody loses the connection after n bytes of the request's body.
func ResetBody(n int64) Action { return sending(n, reset) }

// StallBody sends n bytes of the request's body, calls reached, and sends no more
// until the request's context ends.
func StallBody(n int64, reached func()) Action { return sending(n, stall(reached)) }
