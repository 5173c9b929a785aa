package payload

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cluster"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// fault is something that an installation meets.
type fault struct {
	what string
	// set is a further variable, and image another image than the one to prove.
	set, image string
	// before and after are shell commands on the node.
	before, after string
	// api is how the API fails.
	api cluster.Fault
	// want is part of the error, or "" if the installation succeeds despite the fault.
	want string
	// loads is a further snapshotter that serves then.
	loads string
	// either is true if the error may come before or after the switch to the new state.
	either bool
}

// always is more requests than an installation sends.
const always = 1 << 20

// badInput are the faults that an installer finds before it changes anything.
func (r *run) badInput(ctx context.Context) string {
	arch := "_" + strings.ToUpper(r.Arch)
	faults := []fault{
		{set: "SHIMS" + arch + "=nosuchshim", want: "nosuchshim"},
		{set: "DEFAULT_SHIM" + arch + "=nosuchshim", want: "nosuchshim"},
		{set: "DEBUG=perhaps", want: "perhaps"},
		{set: "NODE_NAME=other", want: "other"},
		{set: "NODE_NAME=", want: "NODE_NAME"},
		{set: "MULTI_INSTALL_SUFFIX=A/B", want: "A/B"},
		{set: "INSTALLATION_PREFIX=../up", want: "../up"},
		{set: "EXPERIMENTAL_SETUP_SNAPSHOTTER=zfs", want: "zfs"},
		{set: "SNAPSHOTTER_HANDLER_MAPPING" + arch + "=nosuchshim:nydus", want: "nosuchshim"},
		{what: "a truncated component", image: brokenPath, want: r.component},
		{what: "a payload of another architecture", image: foreignPath, want: "has no shim for " + r.Arch},
	}
	if r.containerd == testtools.Containerd1 {
		faults = append(faults,
			fault{set: "EXPERIMENTAL_SETUP_SNAPSHOTTER=nydus,nydus-host-share", want: "too old for several snapshotters"},
			// Each drop-in replaces the runtimes of the others.
			fault{set: "MULTI_INSTALL_SUFFIX=two", want: "MULTI_INSTALL_SUFFIX"})
	}
	return r.meet(ctx, faults)
}

// otherFaults are those of the API, of disks and of containerd, which last a while or for good.
func (r *run) otherFaults(ctx context.Context) string {
	r.clean(ctx)
	config := path.Dir(configPath)
	faults := []fault{
		{what: "an API with 2 internal errors", api: cluster.Fault{Status: http.StatusInternalServerError, Times: 2}},
		{what: "an API with 2 conflicts", api: cluster.Fault{Method: http.MethodPatch, Status: http.StatusConflict, Times: 2}},
		{what: "an API that is overloaded twice", api: cluster.Fault{Status: http.StatusTooManyRequests, Times: 2}},
		{what: "an API that hangs once", api: cluster.Fault{Times: 1}},
		{what: "an API that labels no node", api: cluster.Fault{Method: http.MethodPatch, Status: http.StatusInternalServerError, Times: always}, want: "made to fail", either: true},
		{what: "a full disk", before: "mount -t tmpfs -o size=2m tmpfs /opt", after: "umount --lazy /opt", want: "space"},
		{what: "a read-only folder", before: "mount --bind -o ro /opt /opt", after: "umount --lazy /opt", want: "read-only"},
		{what: "a read-only configuration", before: fmt.Sprintf("mount --bind -o ro %[1]s %[1]s", config), after: "umount --lazy " + config, want: "read-only"},
		{what: "a containerd that does not start", want: "containerd", either: true,
			before: `mkdir -p /run/systemd/system/containerd.service.d && printf '[Service]\nExecStartPre=/bin/false\n' > /run/systemd/system/containerd.service.d/broken.conf`,
			after:  "rm -r /run/systemd/system/containerd.service.d && systemctl daemon-reload && systemctl reset-failed containerd"},
		// The chart maps shims to snapshotters that a node may lack.
		{what: "a handler whose snapshotter the node lacks", set: "SNAPSHOTTER_HANDLER_MAPPING_" + strings.ToUpper(r.Arch) + "=" + guestShim + ":nydus," + plainShim + ":devmapper"},
	}
	if r.containerd != testtools.Containerd1 {
		faults = append(faults, fault{what: "two snapshotters", set: "EXPERIMENTAL_SETUP_SNAPSHOTTER=nydus,nydus-host-share", loads: snapshotter + "-host-share"})
	}
	return r.meet(ctx, faults)
}

// meet lets an installation meet each of some faults, on a node without one. An error says
// what is wrong, and leaves the node as it was.
func (r *run) meet(ctx context.Context, faults []fault) string {
	var saw []string
	for _, f := range faults {
		if f.what == "" {
			f.what = f.set
		}
		saw = append(saw, f.what+": "+r.meetOne(ctx, f))
	}
	return strings.Join(saw, "\n")
}

func (r *run) meetOne(ctx context.Context, f fault) string {
	when := "after " + f.what
	r.apply(ctx, r.pod)
	r.shell(ctx, f.before)
	r.api.Front.Fail(f.api)
	began := time.Now()
	c := r.start(ctx, r.pod, cmp.Or(f.image, imagePath), strings.Fields(f.set))
	if f.want == "" {
		c.installed()
		took, failed := time.Since(began).Round(100*time.Millisecond), r.api.Front.Fail(cluster.Fault{})
		report.Want(failed >= min(f.api.Times, 1), "%s: no request failed", f.what)
		if f.set == "" {
			r.same(ctx, r.full, when)
		}
		r.loaded(ctx, cmp.Or(f.loads, snapshotter))
		r.works(ctx)
		r.remove(ctx, r.pod)
		c.terminate(ctx).succeeds("the clean-up " + when)
		r.same(ctx, r.empty, when)
		return fmt.Sprintf("installed in %v", took)
	}
	err := c.wait()
	r.api.Front.Fail(cluster.Fault{})
	r.shell(ctx, f.after)
	report.Want(err != nil, "%s is accepted%s", f.what, c.tail())
	report.Want(strings.Contains(c.last(), f.want), "%s: the error does not name %s%s", f.what, f.want, c.tail())
	if !f.either {
		r.same(ctx, r.empty, when)
		return c.last()
	}
	reached := r.whole(ctx, r.empty, r.full, when)
	next := r.start(ctx, r.pod, imagePath, nil).installed()
	r.same(ctx, r.full, when+" and the next installation")
	r.works(ctx)
	r.remove(ctx, r.pod)
	next.terminate(ctx).succeeds("the clean-up " + when)
	return fmt.Sprintf("the %s state, and the next installation succeeds: %s", reached, c.last())
}

// shell runs a shell command on the node.
func (r *run) shell(ctx context.Context, script string) {
	if script == "" {
		return
	}
	report.Try(r.node.Run(ctx, "sh", "-c", script))
}
