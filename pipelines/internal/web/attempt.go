package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

var (
	// ErrStalled is the error of a body that makes little or no progress.
	ErrStalled = errors.New("the transfer stalled")
	// ErrTooLarge is the error of a response that is larger than any of its kind.
	ErrTooLarge = errors.New("the answer is too large")
)

// silence is the error of a server that does not answer.
type silence struct{ limit time.Duration }

func (s silence) Error() string { return "no answer for " + progress.Elapsed(s.limit) }
func (silence) Timeout() bool   { return true }
func (silence) Temporary() bool { return true }

// maxRefusal is how much of an error's body is read, in bytes.
const maxRefusal = 1 << 20

// leastRate is the slowest transfer that is not a stall, in bytes per second over
// Pace.Stall.
const leastRate = 512

func (t *transport) try(request *http.Request, body io.ReadCloser) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	asking, answer := &guard{ctx: ctx, cancel: cancel}, &guard{ctx: ctx, cancel: cancel}
	attempt := request.Clone(ctx)
	if attempt.Header.Get("User-Agent") == "" {
		attempt.Header.Set("User-Agent", UserAgent)
	}
	asking.allow(t.Pace.Answer, silence{t.Pace.Answer})
	if attempt.Body = body; body != nil && body != http.NoBody {
		attempt.Body = &sending{ReadCloser: body, guard: asking, left: request.ContentLength, stall: t.Pace.Stall}
	}
	response, err := t.Base.RoundTrip(attempt)
	// Once the header of the response has arrived, the rest of the request does not matter.
	asking.end()
	if err != nil {
		defer cancel(nil)
		return nil, asking.cause(err)
	}
	limit := int64(maxRefusal)
	if response.StatusCode < 400 {
		limit = t.Small
		if !strings.Contains(response.Header.Get("Content-Type"), "json") {
			limit = 0
		}
	}
	if limit > 0 && request.Method != http.MethodHead {
		return answer.small(response, limit, t.Pace.Stall)
	}
	response.Body = &receiving{ReadCloser: response.Body, guard: answer, stall: t.Pace.Stall}
	return response, nil
}

// guard cancels a request if a part of it takes too long.
type guard struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

// allow restarts the time limit of the part, unless the part is over.
func (g *guard) allow(limit time.Duration, cause error) {
	g.pause()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over {
		g.timer = time.AfterFunc(limit, func() { g.cancel(cause) })
	}
}

func (g *guard) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
}

func (g *guard) end() {
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	g.pause()
}

// cause returns why the request was canceled, which its error does not say.
func (g *guard) cause(err error) error {
	if g.ctx.Err() != nil && !errors.Is(err, io.EOF) {
		return context.Cause(g.ctx)
	}
	return err
}

// small reads the whole body of a small response, so that the request is retried if the
// connection breaks. The body must arrive within the time of a stall.
func (g *guard) small(response *http.Response, limit int64, stall time.Duration) (*http.Response, error) {
	defer g.cancel(nil)
	g.allow(stall, stalled(stall))
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	g.end()
	_ = response.Body.Close()
	if int64(len(data)) > limit {
		data, err = data[:limit], ErrTooLarge
	}
	// If the server refuses the request, only the status matters.
	if err != nil && response.StatusCode < 400 {
		return nil, g.cause(err)
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return response, nil
}

func stalled(limit time.Duration) error {
	return fmt.Errorf("%w for %s", ErrStalled, progress.Elapsed(limit))
}

// sending is the body of a request. The connection must keep reading it.
type sending struct {
	io.ReadCloser
	guard *guard
	left  int64
	stall time.Duration
}

// Read reads from the body, and restarts the time limit.
func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.left -= int64(n)
	if s.left == 0 || err != nil {
		s.guard.allow(takingIn*s.stall, silence{takingIn * s.stall})
	} else {
		s.guard.allow(s.stall, stalled(s.stall))
	}
	return n, err
}

// receiving is the body of a response. The server must keep sending it.
type receiving struct {
	io.ReadCloser
	guard *guard
	stall time.Duration
	// waited is how long reads have taken since the last progress, and got how many
	// bytes they returned.
	waited time.Duration
	got    int64
}

// Read reads from the body. The time between two reads does not count.
func (r *receiving) Read(p []byte) (int, error) {
	begin := time.Now()
	r.guard.allow(max(0, r.stall-r.waited), fmt.Errorf("%w: %d bytes in %s", ErrStalled, r.got, progress.Elapsed(r.stall)))
	n, err := r.ReadCloser.Read(p)
	r.guard.pause()
	r.waited += time.Since(begin)
	r.got += int64(n)
	if r.got >= int64(r.stall.Seconds()*leastRate) {
		r.waited, r.got = 0, 0
	}
	if err != nil {
		err = r.guard.cause(err)
	}
	return n, err
}

func (r *receiving) Close() error {
	r.guard.pause()
	defer r.guard.cancel(nil)
	return r.ReadCloser.Close()
}
