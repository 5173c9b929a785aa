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
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// stage is a check on a node; each needs those before it.
type stage struct {
	name string
	do   func(*run, context.Context) string
}

// stages are made on a node with a new containerd, and on one with an old one.
var stages = []stage{
	{"node", (*run).bare},
	{"dry run", (*run).dryRun},
	{"bad input", (*run).badInput},
	{"install", (*run).install},
	{"pull", (*run).pull},
	{"sandbox", (*run).sandbox},
	{"restart", (*run).restart},
	{"upgrade", (*run).upgrade},
	{"several installations", (*run).several},
	{"uninstall", (*run).uninstall},
	{"install again", (*run).again},
	{"interruptions", (*run).interruptions},
	{"API faults", (*run).apiFaults},
	{"disk faults", (*run).diskFaults},
	{"containerd does not return", (*run).noReturn},
	{"distributions", (*run).distributions},
	{"logs", (*run).logs},
}

// Check adds what it finds to the report. An error means that nothing could be checked.
func (p Payload) Check(ctx context.Context, r *report.Report, h host.Host) error {
	dir, err := os.MkdirTemp("", "kv-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "image")
	saw, err := p.image(image)
	r.Result("image", saw, err)
	if err != nil {
		return nil
	}
	for _, tool := range []testtools.Tool{testtools.Containerd, testtools.Containerd1} {
		x := &run{Payload: p, Host: h, dir: filepath.Join(dir, tool.Name), image: image, containerd: tool, cache: treeCache{}}
		if err := x.all(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// image unpacks the image and says what is in it.
func (p Payload) image(dir string) (string, error) {
	digest, err := unpack(p.Layout, dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, installer)); err != nil {
		return "", fmt.Errorf("the image has no /%s: build it with one, without --installer none", installer)
	}
	for _, shim := range []string{plainShim, guestShim} {
		names, shims, err := components(dir, shim, p.Arch)
		if err != nil {
			return "", err
		}
		if len(names) == 0 {
			return "", report.Missing(fmt.Sprintf("the image has no shim %s for %s, only %s", shim, p.Arch, strings.Join(shims, ", ")))
		}
	}
	return fmt.Sprintf("%s, with %s, %s and %s", digest, installer, plainShim, guestShim), nil
}

// all makes all stages with one containerd. After one that fails, the node's state is
// unknown, so the rest is skipped.
func (r *run) all(ctx context.Context, to *report.Report) (err error) {
	defer func() { err = errors.Join(err, r.end()) }()
	var why error
	for _, s := range stages {
		saw := ""
		if err = why; err == nil {
			r.Note(fmt.Sprintf("%s: %s", r.containerd.Name, s.name))
			saw, err = report.Steps(func() string { return s.do(r, ctx) })
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := r.containerd.Name + ": " + s.name
		to.Result(name, saw, err)
		if _, skipped := report.AsMissing(err); err != nil && (!skipped || r.node == nil) && why == nil {
			why = report.Missing("because of " + name)
		}
	}
	return nil
}
