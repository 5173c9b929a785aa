// Package web is the one policy by which the program speaks HTTP: to registries,
// to GitHub, and to the places of sources.
//
// The one idea: trust nothing that a server says about itself. It may be down for
// a moment, ask for patience, stop sending, send for ever, or point elsewhere. So
// a request is repeated while that can help, and no longer than the caller allows;
// an answer must keep moving, and one that is small by its kind must be small;
// credentials go to their own site only, and never unencrypted to another machine.
//
// It is an http.RoundTripper, so that clients of others, such as that of
// oras-go, can stand on it. A Download reads content of a known hash, and resumes.
// It leaves out what needs to know the service: resuming an upload is up to the
// caller, who finds here what failed for now (Temporary) and how long to wait (Pace).
// Clients such as go-retryablehttp repeat requests, too; they know no stalls, no
// transfers that are too slow, and no limit to what a server may ask for.
package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// UserAgent is the name that the program gives itself.
const UserAgent = "kata-pipelines"

// Options say whom a client speaks to and how.
type Options struct {
	// Report reads of waits, under the subject.
	Report  *progress.Reporter
	Subject string
	// Host is the host that credentials belong to. They go to it and to the hosts
	// of its site, where registries have their token servers; "" restricts them
	// to the host of the first request.
	Host string
	// Plain allows plain HTTP to other machines, for requests without credentials.
	Plain bool
	// Small is the largest answer in JSON, in bytes; 0 allows any.
	Small int64
	// Pace replaces defaults where its fields are not 0.
	Pace Pace
	// Base carries the requests; nil is a transport of this package.
	Base http.RoundTripper
}

// NewClient returns a client for requests to one service.
func NewClient(o Options) *http.Client {
	o.Pace = o.Pace.complete()
	if o.Base == nil {
		o.Base = NewBase()
	}
	return &http.Client{Transport: &transport{Options: o}, CheckRedirect: redirect}
}

const connecting = 10 * time.Second

// NewBase returns the transport that carries requests. It has no limit for a
// whole answer, since a tarball takes as long as it takes, and none for its
// beginning, which depends on the request.
func NewBase() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connecting}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   connecting,
		ExpectContinueTimeout: time.Second,
		// The hash of a file is that of its bytes as they are.
		DisableCompression: true,
		WriteBufferSize:    64 << 10,
	}
}

// redirect follows requests that only read, without the credentials if they leave
// the origin. It does not follow others: net/http would turn a change into a GET,
// which changes nothing, and the body may hold a secret.
func redirect(request *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet && first.Method != http.MethodHead {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("redirected 10 times")
	}
	// net/http copies the headers of the first request again at each step.
	for _, step := range append(via[1:len(via):len(via)], request) {
		if step.URL.Scheme != first.URL.Scheme || step.URL.Host != first.URL.Host {
			request.Header.Del("Authorization")
			request.Header.Del("Cookie")
		}
	}
	return nil
}

type transport struct {
	Options
	// reached has the hosts that have answered.
	reached sync.Map
}

// RoundTrip performs a request, again where that can help.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := t.allowed(request); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, fmt.Errorf("%s: %w", request.URL.Host, err)
	}
	var e effort
	for body := request.Body; ; {
		response, err := t.try(request, body)
		if err == nil {
			t.reached.Store(request.URL.Host, nil)
		} else if _, known := t.reached.Load(request.URL.Host); known && errors.Is(err, syscall.ECONNREFUSED) {
			err = &lostError{err} // It was there, and may be starting again.
		}
		wait, why := e.again(t.Pace, request, response, err)
		if why == "" || body != nil && body != http.NoBody && request.GetBody == nil {
			return response, err
		}
		if response != nil {
			// Read to its end, the connection is kept.
			_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
			_ = response.Body.Close()
		}
		if wait >= time.Second {
			t.Report.Note(t.Subject, fmt.Sprintf("%s %s: trying again in %s", request.URL.Host, why, progress.Elapsed(wait)))
		}
		if err := t.Pace.Rest(request.Context(), wait); err != nil {
			return nil, err
		}
		if request.GetBody != nil {
			if body, err = request.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// CloseIdleConnections is what http.Client's method of that name calls.
func (t *transport) CloseIdleConnections() {
	if base, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}
