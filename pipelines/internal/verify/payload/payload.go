// Package payload proves the image of kata-deploy: it runs it on a node as the DaemonSet of
// the chart would, with a real containerd, systemd and Kubernetes API, and looks at what
// that leaves on the node, whatever interrupts it.
//
// Everything on the node is real except the kubelet. What the installer sees of one is kept
// by a stand-in: the container of the DaemonSet runs without one, and the node's conditions
// follow what containerd says of itself.
package payload

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// Payload is an image to prove.
type Payload struct {
	// Layout is the folder of its OCI layout, and Arch its architecture as `uname -m`
	// prints it.
	Layout, Arch string
	// Kills is how many installations are interrupted on each containerd.
	Kills int
}

// The shims that are installed: one with containerd's own snapshotter, and one whose
// images the guest pulls.
const (
	plainShim = "qemu"
	guestShim = "qemu-coco-dev"
)

// snapshotter is the name of the snapshotter that the installer sets up.
const snapshotter = "nydus-for-kata-tee"

// Check adds what it finds to the report. An error means that nothing could be checked.
func (p Payload) Check(ctx context.Context, to *report.Report, h host.Host) error {
	dir, err := os.MkdirTemp("", "kv-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "image")
	saw, err := p.image(image)
	to.Result("image", saw, err)
	if err != nil {
		return nil
	}
	for _, tool := range []testtools.Tool{testtools.Containerd, testtools.Containerd1} {
		r := &run{Payload: p, Host: h, report: to, dir: filepath.Join(dir, tool.Name), image: image, containerd: tool, cache: treeCache{}}
		if err := errors.Join(r.all(ctx), r.end()); err != nil {
			return err
		}
	}
	return nil
}

// all checks a node with one containerd; each check needs those before it.
func (r *run) all(ctx context.Context) error {
	r.check(ctx, "node", r.bare)
	r.check(ctx, "dry run", r.dryRun)
	r.check(ctx, "bad input", r.badInput)
	r.check(ctx, "install", r.install)
	r.check(ctx, "pull", r.pull)
	r.check(ctx, "sandbox", r.sandbox)
	r.check(ctx, "restart", r.restart)
	r.check(ctx, "upgrade", r.upgrade)
	r.check(ctx, "several installations", r.several)
	r.check(ctx, "uninstall", r.uninstall)
	r.check(ctx, "install again", r.again)
	r.check(ctx, "interruptions", r.interruptions)
	r.check(ctx, "faults", r.otherFaults)
	r.check(ctx, "distributions", r.distributions)
	r.check(ctx, "logs", r.logs)
	return context.Cause(ctx)
}

// check makes a check. After one that fails, the node's state is unknown, so the rest is
// skipped.
func (r *run) check(ctx context.Context, name string, do func(context.Context) string) {
	name = r.containerd.Name + ": " + name
	switch {
	case ctx.Err() != nil:
		return
	case r.why != nil:
		r.report.Result(name, "", r.why)
		return
	}
	r.Note(name)
	saw, err := report.Steps(func() string { return do(ctx) })
	if ctx.Err() != nil {
		return
	}
	r.report.Result(name, saw, err)
	if _, skipped := report.AsMissing(err); err != nil && (!skipped || r.node == nil) {
		r.why = report.Missing("because of " + name)
	}
}
