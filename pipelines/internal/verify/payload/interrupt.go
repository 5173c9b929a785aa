package payload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// interruption is a moment at which an installation is interrupted.
type interruption struct {
	what string
	// fresh starts without an installation, otherwise there is the other image's.
	fresh bool
	// leaving deletes the DaemonSet before the signal: the pod cleans up.
	leaving bool
	// kill sends SIGKILL to the container, to everything in it, at last.
	kill bool
}

var kinds = []interruption{
	{what: "SIGKILL in an upgrade", kill: true},
	{what: "SIGTERM in an upgrade"},
	{what: "SIGKILL in a first installation", fresh: true, kill: true},
	{what: "SIGTERM in a first installation, whose DaemonSet is gone", fresh: true, leaving: true},
	{what: "SIGKILL in the clean-up", leaving: true, kill: true},
}

// interruptions interrupts installations at random moments. Each time the node must be in
// the former state or in the new one, its containerd must start, and the next run of the
// installer must reach its end.
func (r *run) interruptions(ctx context.Context) string {
	r.down(ctx)
	at := map[string]int{}
	image, other := imagePath, upgradePath
	for i := range r.Kills {
		kind := kinds[i%len(kinds)]
		image, other = other, image
		limit := r.changed
		if kind.fresh || kind.leaving {
			limit = r.took
		}
		moment := rand.N(limit)
		reached := r.interrupt(ctx, kind, image, moment)
		at[kind.what+", "+reached]++
		r.Note(fmt.Sprintf("%s: %d of %d: %s after %v: the %s state", r.containerd.Name, i+1, r.Kills, kind.what, moment.Round(time.Millisecond), reached))
	}
	r.up(ctx, imagePath)
	r.same(ctx, r.full, "after all interruptions")
	r.pull(ctx)
	r.down(ctx)
	var lines []string
	for _, kind := range kinds {
		lines = append(lines, fmt.Sprintf("%s: %d times the former state, %d times the new one", kind.what, at[kind.what+", former"], at[kind.what+", new"]))
	}
	return fmt.Sprintf("%d interruptions, within %v of a first installation and %v of an upgrade:\n%s", r.Kills, r.took.Round(time.Millisecond), r.changed.Round(time.Millisecond), strings.Join(lines, "\n"))
}

// interrupt interrupts the installer of an image after some time, and says which state the
// node is in. Then it lets the installer finish, so that the image is installed.
func (r *run) interrupt(ctx context.Context, kind interruption, image string, after time.Duration) string {
	when := fmt.Sprintf("%s after %v", kind.what, after)
	if kind.fresh {
		r.clean(ctx)
	}
	former, goal := r.tree(ctx), r.states()[image]
	r.apply(ctx, r.pod)
	c := r.start(ctx, r.pod, image, nil).begun()
	if kind.leaving {
		former, goal = goal, r.empty
		if kind.fresh {
			c.sleep(ctx, after)
		} else {
			c.installed()
		}
		r.remove(ctx, r.pod)
		c.terminate(ctx)
	}
	switch {
	case kind.kill:
		c.sleep(ctx, after)
		c.kill()
	case kind.leaving:
		c.succeeds(when)
	default:
		c.sleep(ctx, after)
		c.terminate(ctx).succeeds(when)
	}
	reached := r.whole(ctx, former, goal, when)
	if kind.leaving && kind.kill {
		r.clean(ctx)
	} else if kind.leaving {
		r.same(ctx, r.empty, when)
	}
	r.up(ctx, image)
	r.same(ctx, r.states()[image], "after the installation that followed "+when)
	r.works(ctx)
	r.down(ctx)
	return reached
}

// clean removes the installation, if there is one.
func (r *run) clean(ctx context.Context) {
	r.remove(ctx, r.pod)
	r.start(ctx, r.pod, imagePath, nil, "cleanup").succeeds("the clean-up")
	r.same(ctx, r.empty, "after the clean-up")
}

// states are the files of the node with the installations of both images.
func (r *run) states() map[string]tree {
	return map[string]tree{imagePath: r.full, upgradePath: r.upgraded}
}
