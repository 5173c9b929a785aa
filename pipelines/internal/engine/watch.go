package engine

import (
	"context"
	"errors"
	"time"
)

const (
	// watchEvery is how often a build checks that its embedded engine lives: the
	// SDK takes minutes to notice.
	watchEvery = 2 * time.Second
	// closeTimeout bounds the end of a session whose engine does not answer.
	closeTimeout = 10 * time.Second
)

// watched runs something that uses the engine. It gives up when the engine has
// died, with the end of its log.
func (s *Session) watched(ctx context.Context, run func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for dead := 0; dead < 2; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// One failure to answer may be a moment's.
			if why := s.Endpoint.Explain(); why == "" {
				dead = 0
			} else if dead++; dead == 2 {
				s.dead.Store(true)
				cancel(errors.New(why))
			}
		}
	}()
	err := run(ctx)
	if err != nil && s.dead.Load() {
		return context.Cause(ctx)
	}
	return err
}

// Close ends the session.
func (s *Session) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.client.Close() }()
	var err error
	select {
	case err = <-closed:
	case <-time.After(closeTimeout):
		err = errors.New("the engine does not end the session")
	}
	s.Endpoint.Release()
	return err
}
