package github

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// pace says how patient a Client is.
type pace struct {
	// tries is how often a request is sent, first the wait after the first of
	// them, longest the longest of these waits.
	tries          int
	first, longest time.Duration
	// limit is how long in all one request may be held up by GitHub's limits, and
	// limits how often.
	limit  time.Duration
	limits int
	// stall is how long a transfer may stand still.
	stall time.Duration
}

// backoff returns the wait after a try, counted from 1, with jitter.
func (p pace) backoff(try int) time.Duration {
	wait := min(p.first<<min(try-1, 16), p.longest)
	return wait + rand.N(wait/4+1)
}

// patience is what is left of a Client's for one piece of work.
type patience struct {
	*Client
	tries  int
	held   time.Duration
	limits int
}

// again waits before the work is tried again after an error, and returns nil; or
// it returns an error that ends the work. What a limit has refused is tried again
// whatever it is, since nothing was done, other failures where that may help.
func (p *patience) again(ctx context.Context, err error, may bool) error {
	var f *failure
	limited := errors.As(err, &f) && f.limited
	switch {
	case ctx.Err() != nil:
		return err
	case limited && (p.held+f.wait > p.pace.limit || p.limits >= p.pace.limits):
		return fmt.Errorf("%w: run it again after %s", err, p.now().Add(f.wait).Format(time.DateTime))
	case limited:
		p.held += f.wait
		p.limits++
		p.note("%s: GitHub's limit is reached, waiting for %s", f.doing, progress.Elapsed(f.wait))
		return p.sleep(ctx, f.wait)
	}
	if p.tries++; !may || p.tries >= p.pace.tries {
		return err
	}
	wait := p.pace.backoff(p.tries)
	p.note("%v: trying again in %s", err, progress.Elapsed(wait))
	return p.sleep(ctx, wait)
}

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
