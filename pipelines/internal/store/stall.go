package store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// patient is a transport whose answers fail once they bring no bytes for as long
// as the pace allows, whoever reads them: no client timeout can do that, since a
// tarball takes as long as it takes.
type patient struct {
	registry *Registry
	base     http.RoundTripper
}

// RoundTrip performs one request.
func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	response, err := p.base.RoundTrip(request.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	response.Body = newStalling(response.Body, p.registry.pace.stall, cancel)
	return response, nil
}

// stalling is a body that is given up where a read takes too long.
type stalling struct {
	io.ReadCloser
	stall  time.Duration
	watch  *time.Timer
	cancel context.CancelCauseFunc
	// stalled is closed once it is given up.
	stalled chan struct{}
}

func newStalling(body io.ReadCloser, stall time.Duration, cancel context.CancelCauseFunc) *stalling {
	s := &stalling{ReadCloser: body, stall: stall, cancel: cancel, stalled: make(chan struct{})}
	s.watch = time.AfterFunc(stall, func() {
		close(s.stalled)
		cancel(errStalled)
	})
	s.watch.Stop()
	return s
}

// Read reads on; the time between two reads does not count.
func (s *stalling) Read(p []byte) (int, error) {
	select {
	case <-s.stalled:
		// Resetting the watch would have it close the channel again.
		return 0, s.error()
	default:
	}
	s.watch.Reset(s.stall)
	n, err := s.ReadCloser.Read(p)
	if !s.watch.Stop() && err != nil {
		<-s.stalled
		err = s.error()
	}
	return n, err
}

func (s *stalling) error() error { return fmt.Errorf("%w for %s", errStalled, s.stall) }

// Close ends the request.
func (s *stalling) Close() error {
	s.watch.Stop()
	defer s.cancel(nil)
	return s.ReadCloser.Close()
}
