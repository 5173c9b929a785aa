package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// pace says how patient a Registry is.
type pace struct {
	// tries is how often a request is repeated without any progress, first how
	// long the first wait is: the next is twice as long.
	tries int
	first time.Duration
	// longest is the longest wait that a registry can ask for.
	longest time.Duration
	// stall is how long a body may bring nothing.
	stall time.Duration
}

var defaultPace = pace{tries: 4, first: 250 * time.Millisecond, longest: time.Minute, stall: 20 * time.Second}

// wait returns how long to wait before a try, with jitter, so that many that
// failed together do not come back together.
func (p pace) wait(attempt int) time.Duration {
	wait := p.first << min(attempt, 16)
	return min(wait+rand.N(wait/4+1), p.longest)
}

// Limits of the own transport. There is none for a whole request, since a
// tarball takes as long as it takes; a registry may need long to take one in.
const (
	connecting = 10 * time.Second
	answering  = 10 * time.Second
	takingIn   = 5 * time.Minute
)

// newClient returns the client: it repeats what failed and authenticates itself
// only where it is asked to.
func (r *Registry) newClient() *auth.Client {
	base := r.options.Transport
	if base == nil {
		base = newTransport()
	}
	base = patient{r, base}
	client := &auth.Client{
		Client: &http.Client{Transport: &retry.Transport{Base: base, Policy: func() retry.Policy { return policy{r} }}},
		Cache:  auth.NewCache(),
	}
	if r.options.Username != "" {
		client.Credential = auth.StaticCredential(r.ref.Registry, auth.Credential{Username: r.options.Username, Password: r.options.Password})
	} else {
		client.Credential = r.dockerCredential()
	}
	client.SetUserAgent("kata-pipelines")
	return client
}

// transport has two patiences, for what only asks and for what brings bytes.
type transport struct{ asking, bringing *http.Transport }

// RoundTrip performs one request.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPut {
		return t.bringing.RoundTrip(request)
	}
	return t.asking.RoundTrip(request)
}

func newTransport() http.RoundTripper {
	asking := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connecting}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   listing,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   connecting,
		ResponseHeaderTimeout: answering,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
	}
	bringing := asking.Clone()
	bringing.ResponseHeaderTimeout = takingIn
	return transport{asking, bringing}
}

// dockerCredential returns what finds credentials in the docker config and its
// helpers, which it opens when a registry first asks for any. What does not work
// there is a note, and then the registry is asked as anybody.
func (r *Registry) dockerCredential() auth.CredentialFunc {
	open := sync.OnceValues(func() (credentials.Store, error) {
		return credentials.NewStoreFromDocker(credentials.StoreOptions{})
	})
	return func(ctx context.Context, host string) (auth.Credential, error) {
		docker, err := open()
		if err != nil {
			r.tell(fmt.Sprintf("the docker config cannot be read (%v): going on without credentials for %s", err, host))
			return auth.EmptyCredential, nil
		}
		credential, err := credentials.Credential(docker)(ctx, host)
		if err != nil && ctx.Err() == nil {
			r.tell(fmt.Sprintf("the docker config gives no credentials for %s (%v): going on without", host, err))
			return auth.EmptyCredential, nil
		}
		return credential, err
	}
}

// policy repeats requests that a registry has no time for, or that a connection
// was lost with; not those that nobody answered: a registry that is down shall
// be found out soon. It serves oras-go's retry transport, whose own policies
// take Retry-After neither from a 503 nor as a date.
type policy struct{ *Registry }

// Retry returns the wait before the next try, or less than 0 for none.
func (p policy) Retry(attempt int, response *http.Response, err error) (time.Duration, error) {
	wait := p.pace.wait(attempt)
	var what string
	switch {
	case err != nil:
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return -1, nil
		}
		what = "lost the connection"
	case response.StatusCode == http.StatusTooManyRequests, response.StatusCode >= 500:
		what = "answers " + statusText(response.StatusCode)
		if asked, given := retryAfter(response, time.Now()); given {
			wait = min(asked, p.pace.longest)
		}
		if body := response.Request.Body; body != nil && body != http.NoBody && response.Request.GetBody == nil {
			// The transport cannot send it again: who made the body does.
			return -1, &busy{statusError{response.StatusCode}, wait}
		}
	default:
		return -1, nil
	}
	if attempt >= p.pace.tries {
		return -1, nil
	}
	if wait > time.Second {
		p.tell(fmt.Sprintf("%s %s: waiting %s", p, what, wait.Round(time.Second)))
	}
	return wait, nil
}

// busy is the answer of a registry that wants a body later.
type busy struct {
	statusError
	after time.Duration
}

// Unwrap returns the status.
func (b *busy) Unwrap() error { return b.statusError }

// retryAfter returns how long a registry wants to be left alone: it says so in
// seconds or by a date.
func retryAfter(response *http.Response, now time.Time) (time.Duration, bool) {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now)), true
	}
	return 0, false
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
