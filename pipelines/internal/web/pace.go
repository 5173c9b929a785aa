package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Pace says how patient a client is.
type Pace struct {
	// Tries is how often a request is sent while it fails temporarily. The first wait is
	// First, each further one twice as long, up to Longest.
	Tries          int
	First, Longest time.Duration
	// Patience is how long, in total, a server may ask one request to wait.
	Patience time.Duration
	// Answer is how long a server may take to begin its response to a request without a
	// body.
	Answer time.Duration
	// Stall is how long a body, in either direction, may make no progress.
	Stall time.Duration
	// Sleep replaces the timer in tests.
	Sleep func(ctx context.Context, wait time.Duration) error
}

// maxHolds is how often a server may ask one request to wait.
const maxHolds = 20

// takingIn is the factor by which a server may take longer than a stall to answer once it
// has a request's body: registries hash it first.
const takingIn = 10

func (p Pace) complete() Pace {
	return Pace{
		Tries: cmp.Or(p.Tries, 6), First: cmp.Or(p.First, 500*time.Millisecond), Longest: cmp.Or(p.Longest, 30*time.Second),
		Patience: cmp.Or(p.Patience, 2*time.Minute), Answer: cmp.Or(p.Answer, 30*time.Second), Stall: cmp.Or(p.Stall, 30*time.Second),
		Sleep: p.Sleep,
	}
}

// Backoff returns the wait after that many failures, counted from 1. It has jitter, so that
// clients that failed together do not retry together.
func (p Pace) Backoff(failures int) time.Duration {
	p = p.complete()
	wait := min(p.First<<min(failures-1, 16), p.Longest)
	return wait + rand.N(wait/4+1)
}

// Rest waits, until the context ends at the latest.
func (p Pace) Rest(ctx context.Context, wait time.Duration) error {
	if p.Sleep != nil {
		return p.Sleep(ctx, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// effort is what was spent on one request.
type effort struct {
	tries, silent, holds int
	held                 time.Duration
}

// again returns why to retry a request, and after what wait; "" means not to retry.
func (e *effort) again(pace Pace, request *http.Request, response *http.Response, err error) (wait time.Duration, why string) {
	if request.Context().Err() != nil {
		return 0, ""
	}
	if response != nil {
		asked, given := RetryAfter(response)
		switch given = given && response.StatusCode >= 400; {
		case given:
			// The server did nothing, so even a request marked with Once is retried.
			wait = max(asked, pace.First)
			if e.held+wait > pace.Patience || e.holds >= maxHolds {
				return 0, ""
			}
			e.held, e.holds = e.held+wait, e.holds+1
			return wait, "answers " + StatusText(response.StatusCode)
		case !TemporaryStatus(response.StatusCode):
			return 0, ""
		}
		why = "answers " + StatusText(response.StatusCode)
	} else {
		if why = failure(err); why == "" {
			return 0, ""
		}
		if isTimeout(err) || errors.Is(err, ErrStalled) {
			e.silent++
		}
	}
	if e.tries++; e.tries >= pace.Tries || e.silent > 1 || request.Context().Value(onceKey{}) != nil {
		return 0, ""
	}
	return pace.Backoff(e.tries), why
}

type onceKey struct{}

// Once marks the requests of a context as not idempotent. They are retried only if the
// server says that it did nothing, and when to try again.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// StatusText names a status: "404 Not Found".
func StatusText(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// TemporaryStatus reports whether a server may answer with another status later.
func TemporaryStatus(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusRequestTimeout ||
		code >= 500 && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported
}

// Temporary reports whether a retry may succeed. A refused connection counts as temporary
// if the server has answered before.
func Temporary(err error) bool { return failure(err) != "" }

// RetryAfter returns how long a server asks to wait. It may ask in seconds, or by a date
// of its own clock.
func RetryAfter(response *http.Response) (time.Duration, bool) {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	now := time.Now()
	if its, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		now = its
	}
	return max(0, date.Sub(now)), true
}

// lostError is the error of a refused connection to a server that has answered before.
type lostError struct{ error }

func (l *lostError) Unwrap() error { return l.error }

// failure describes a temporary error of the network; it returns "" for other errors.
func failure(err error) string {
	var lost *lostError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &lost):
		return "refuses connections"
	case errors.Is(err, ErrStalled):
		return "stalls"
	case isTimeout(err):
		return "does not answer"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "lost the connection"
	}
	return ""
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}
