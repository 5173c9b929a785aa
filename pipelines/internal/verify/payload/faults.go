package payload

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cluster"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// badInput expects an error for each fault of the variables, that says what is wrong, and
// no change.
func (r *run) badInput(ctx context.Context) string {
	arch := "_" + strings.ToUpper(r.Arch)
	var saw []string
	for _, bad := range []struct{ variable, value, want string }{
		{"SHIMS" + arch, "nosuchshim", "nosuchshim"},
		{"DEFAULT_SHIM" + arch, "nosuchshim", "nosuchshim"},
		{"DEBUG", "perhaps", "perhaps"},
		{"NODE_NAME", "other", "other"},
		{"NODE_NAME", "", "NODE_NAME"},
		{"MULTI_INSTALL_SUFFIX", "A/B", "A/B"},
		{"INSTALLATION_PREFIX", "../up", "../up"},
		{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "zfs", "zfs"},
		{"SNAPSHOTTER_HANDLER_MAPPING" + arch, "nosuchshim:nydus", "nosuchshim"},
	} {
		c := r.start(ctx, r.pod, imagePath, []string{bad.variable + "=" + bad.value})
		saw = append(saw, r.refused(ctx, c, fmt.Sprintf("%s=%q", bad.variable, bad.value), bad.want))
	}
	c := r.start(ctx, r.pod, brokenPath, nil)
	saw = append(saw, r.refused(ctx, c, "a truncated component", r.broken))
	return strings.Join(saw, "\n")
}

// refused expects an installer to fail with an error that names what is wrong, and to
// leave the node as it was. It returns that line.
func (r *run) refused(ctx context.Context, c *container, what, want string) string {
	err := c.wait()
	report.Want(err != nil, "%s is accepted%s", what, c.tail())
	lines := strings.Split(strings.TrimSpace(c.text()), "\n")
	last := lines[len(lines)-1]
	report.Want(strings.Contains(last, want), "%s: the error does not name %s%s", what, want, c.tail())
	r.same(ctx, r.empty, "after "+what)
	return what + ": " + last
}

// apiFaults lets the API fail now and then, which delays an installation, and for good,
// which ends it with an error and a node that is in one state.
func (r *run) apiFaults(ctx context.Context) string {
	const always = 1 << 20
	var saw []string
	for _, fault := range []cluster.Fault{
		{Status: http.StatusInternalServerError, Times: 2},
		{Method: http.MethodPatch, Status: http.StatusConflict, Times: 2},
		{Status: http.StatusTooManyRequests, Times: 2},
		{Times: 1},
		{Method: http.MethodPatch, Status: http.StatusInternalServerError, Times: always},
	} {
		r.clean(ctx)
		r.apply(ctx, r.pod)
		r.api.Front.Fail(fault)
		began := time.Now()
		c := r.start(ctx, r.pod, imagePath, nil)
		if fault.Times == always {
			err := c.wait()
			report.Want(err != nil, "an API that answers no %s is no error%s", fault.Method, c.tail())
			r.whole(ctx, r.empty, r.full, "after an API that failed for good")
		} else {
			c.installed()
		}
		took, failed := time.Since(began).Round(100*time.Millisecond), r.api.Front.Fail(cluster.Fault{})
		report.Want(failed >= min(fault.Times, 1), "no request failed")
		if fault.Times == always {
			c = r.start(ctx, r.pod, imagePath, nil)
			c.installed()
		}
		r.same(ctx, r.full, "after faults of the API")
		r.works(ctx)
		c.terminate(ctx)
		report.Must(c.wait())
		saw = append(saw, fmt.Sprintf("%d requests %s got the status %d (0 for no answer): %v", failed, fault.Method, fault.Status, took))
	}
	return strings.Join(saw, "\n")
}

// diskFaults installs on full and read-only disks: nothing stays.
func (r *run) diskFaults(ctx context.Context) string {
	r.clean(ctx)
	var saw []string
	for _, fault := range []struct {
		what, path string
		mount      []string
		want       string
	}{
		{"a full disk", "/opt", []string{"mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", "/opt"}, "space"},
		{"a read-only folder", "/opt", []string{"mount", "--bind", "-o", "ro", "/opt", "/opt"}, "read-only"},
		{"a read-only configuration", path.Dir(configPath), []string{"mount", "--bind", "-o", "ro", path.Dir(configPath), path.Dir(configPath)}, "read-only"},
	} {
		r.apply(ctx, r.pod)
		report.Try(r.node.Run(ctx, fault.mount...))
		c := r.start(ctx, r.pod, imagePath, nil)
		err := c.wait()
		report.Try(r.node.Run(ctx, "umount", "--lazy", fault.path))
		report.Want(err != nil, "%s is no error%s", fault.what, c.tail())
		saw = append(saw, r.refused(ctx, c, fault.what, fault.want))
		r.remove(ctx, r.pod)
	}
	r.apply(ctx, r.pod)
	return strings.Join(saw, "\n")
}

// noReturn installs where containerd does not start again: that is an error, and the
// installation is whole once containerd starts.
func (r *run) noReturn(ctx context.Context) string {
	const dropIn = "/run/systemd/system/containerd.service.d/broken.conf"
	r.write(dropIn, "[Service]\nExecStartPre=/bin/false\n")
	r.apply(ctx, r.pod)
	c := r.start(ctx, r.pod, imagePath, nil)
	err := c.wait()
	report.Try(r.node.Run(ctx, "rm", dropIn))
	report.Try(r.node.Run(ctx, "systemctl", "daemon-reload"))
	report.Try(r.node.Run(ctx, "systemctl", "reset-failed", "containerd"))
	report.Want(err != nil, "a containerd that does not start is no error%s", c.tail())
	report.Want(strings.Contains(c.text(), "containerd"), "the error does not name containerd%s", c.tail())
	reached := r.whole(ctx, r.empty, r.full, "after a containerd that did not start")
	r.main = r.start(ctx, r.pod, imagePath, nil)
	r.main.installed()
	r.same(ctx, r.full, "after the next installation")
	r.works(ctx)
	lines := strings.Split(strings.TrimSpace(c.text()), "\n")
	return fmt.Sprintf("the node was in the %s state, and the next installation succeeded: %s", reached, lines[len(lines)-1])
}
