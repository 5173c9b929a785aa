// Package web is the program's policy for HTTP: with registries, with GitHub, and with
// the servers of sources.
//
// The one idea: do not trust a server. It may be down for a moment, ask for patience,
// stop sending, never stop sending, or redirect elsewhere. So a request is retried while
// that can help, and no longer than the caller allows; a response must make progress, and
// one of a small kind must be small; credentials go only to their own site, and never
// unencrypted to another machine.
//
// The policy is an http.RoundTripper, so that other clients, such as that of oras-go, can
// use it. A Download reads content of a known hash, and resumes. The package leaves out
// what depends on the service: a caller that resumes uploads gets from it which failures
// are temporary (Temporary) and how long to wait (Pace). Clients such as go-retryablehttp
// retry requests, too, but they do not detect stalls or slow transfers, and do not limit
// how long a server may ask to wait.
package web

import (
	"context"
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

// UserAgent is the User-Agent of the program's requests.
const UserAgent = "kata-pipelines"

// Options configure a client.
type Options struct {
	// Report gets notes about waits, under the subject.
	Report  *progress.Reporter
	Subject string
	// Host is the host of the credentials. They are sent to it, and to hosts of its site,
	// where registries have their token servers; if Host is "", only to the host of the
	// first request.
	Host string
	// Plain allows plain HTTP to other machines, for requests without credentials.
	Plain bool
	// Small is the largest response in JSON, in bytes; 0 allows any.
	Small int64
	// Pace overrides the defaults with its fields that are not 0.
	Pace Pace
	// Base carries the requests; nil means NewBase.
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

// NewBase returns a transport. It does not limit the time of a whole response, since a
// tarball may take long, nor the time until it begins, which depends on the request.
func NewBase() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connecting}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   connecting,
		ExpectContinueTimeout: time.Second,
		// Hashes are those of the bytes as stored.
		DisableCompression: true,
		WriteBufferSize:    64 << 10,
	}
}

// redirect follows redirects of requests that only read, and drops the credentials if they
// leave the origin. It does not follow others: net/http would turn a POST into a GET,
// which changes nothing, and the body may contain a secret.
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
	// reached has the hosts that have answered before.
	reached sync.Map
}

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
			err = &lostError{err} // The server may be restarting.
		}
		wait, why := e.again(t.Pace, request, response, err)
		if why == "" || body != nil && body != http.NoBody && request.GetBody == nil {
			return response, err
		}
		if response != nil {
			// The connection is reused only if the body has been read to its end.
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

// CloseIdleConnections is called by the method of http.Client of that name.
func (t *transport) CloseIdleConnections() {
	if base, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// Client sends requests, as an *http.Client does.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// Unavailable is the error of a server that does not serve the content.
type Unavailable struct {
	// Err says why. Response is the server's error response, or nil.
	Err      error
	Response *http.Response
}

func (u *Unavailable) Error() string { return Reason(u.Err) }

func (u *Unavailable) Unwrap() error { return u.Err }

// Content returns a small file of a server. The error is an *Unavailable if the server does
// not serve it.
func Content(ctx context.Context, client Client, address string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("invalid address") // The cause would show it.
	}
	where := Shown(address)
	response, err := client.Do(request)
	if err != nil {
		return nil, &Unavailable{Err: fmt.Errorf("%s: %w", where, err)}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &Unavailable{fmt.Errorf("%s: the server answered %s", where, StatusText(response.StatusCode)), response}
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err == nil && int64(len(data)) > most {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, Clean(err))
	}
	return data, nil
}

// Refusal returns the status code with which a server refused to serve a file, 0 for
// another error.
func Refusal(err error) int {
	if u, ok := errors.AsType[*Unavailable](err); ok && u.Response != nil {
		return u.Response.StatusCode
	}
	return 0
}
