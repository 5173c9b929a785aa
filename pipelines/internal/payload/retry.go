package payload

import (
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

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// pace says how patient a client is.
type pace struct {
	// tries is how often something is tried again without any progress; the first
	// wait is first, the next twice as long, and none longer than longest.
	tries          int
	first, longest time.Duration
	// stall is how long an upload may not move.
	stall time.Duration
}

// pushPace outlasts a registry that starts again: the waits add up to a minute.
var pushPace = pace{tries: 7, first: 500 * time.Millisecond, longest: time.Minute, stall: time.Minute}

// wait returns how long to wait before trying again, with jitter, or as long as the
// registry asked for.
func (p pace) wait(attempt int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, p.longest)
	}
	wait := p.first << min(attempt, 16)
	return min(wait+rand.N(wait/4+1), p.longest)
}

// retrying is a transport that repeats what failed for now, where the request can
// be sent again.
type retrying struct {
	base http.RoundTripper
	pace pace
	note func(string)
}

// RoundTrip performs one request.
func (t retrying) RoundTrip(request *http.Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		again := request
		if attempt > 0 {
			again = request.Clone(request.Context())
			if request.GetBody != nil {
				body, err := request.GetBody()
				if err != nil {
					return nil, err
				}
				again.Body = body
			}
		}
		response, err := t.base.RoundTrip(again)
		why, asked := passing(response, err)
		// What ends an upload is not asked for twice: the first may have been enough.
		replayable := request.Method == http.MethodGet || request.Method == http.MethodHead || request.GetBody != nil
		if why == "" || !replayable || attempt >= t.pace.tries || request.Context().Err() != nil {
			return response, err
		}
		if response != nil {
			// Read to its end, so that the connection is kept.
			_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
			_ = response.Body.Close()
		}
		wait := t.pace.wait(attempt, asked)
		if wait > time.Second {
			t.note(fmt.Sprintf("%s %s: waiting %s", request.URL.Host, why, wait.Round(time.Second)))
		}
		if err := sleep(request.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// passing says why a request failed that may do better later, or "", and how long
// the registry asks to be left alone.
func passing(response *http.Response, err error) (why string, asked time.Duration) {
	if err != nil {
		if passes(err) {
			return "lost the connection", 0
		}
		return "", 0
	}
	if !passingStatus(response.StatusCode) {
		return "", 0
	}
	return "answers " + statusText(response.StatusCode), retryAfter(response.Header.Get("Retry-After"), time.Now())
}

// passingStatus tells whether an answer may be another one later.
func passingStatus(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusRequestTimeout ||
		code >= 500 && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported
}

// passes tells whether an error may not come again.
func passes(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return passingStatus(answer.StatusCode)
	}
	var network net.Error
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errStalled) || errors.Is(err, errAgain) ||
		errors.As(err, &network) && network.Timeout()
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// sleep waits while the context lasts.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
