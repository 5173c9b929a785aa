package payload

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// several installs a second time next to the first, by a suffix, and removes that again. A
// DaemonSet that would share the folder of another is refused.
func (r *run) several(ctx context.Context) string {
	const suffix = "two"
	second := report.Try(r.render(ctx, shims(values{"env": values{"multiInstallSuffix": suffix}})))
	r.apply(ctx, second)
	c := r.start(ctx, second, imagePath, nil)
	if r.containerd == testtools.Containerd1 {
		// Each drop-in replaces the runtimes of the others.
		err := c.wait()
		report.Want(err != nil && strings.Contains(c.text(), "MULTI_INSTALL_SUFFIX"), "a second installation with containerd 1 is accepted%s", c.tail())
		r.same(ctx, r.full, "after a second installation was refused")
		r.remove(ctx, second)
		return "containerd 1 replaces the runtimes of one drop-in by those of the next, so a second installation is refused, and nothing changes"
	}
	c.installed()
	both := r.tree(ctx)
	report.Try(r.agrees(r.pod, both, prefix))
	report.Try(r.agrees(second, both, prefix+"-"+suffix))
	diff := r.full.below(prefix).differences(both.below(prefix))
	report.Want(len(diff) == 0, "the second installation changed the first:\n%s", strings.Join(diff, "\n"))
	names := r.handlers(ctx)
	for _, shim := range []string{plainShim, guestShim} {
		report.Want(slices.Contains(names, "kata-"+shim) && slices.Contains(names, "kata-"+shim+"-"+suffix), "containerd has the handlers %s: want kata-%s with and without -%s", names, shim, suffix)
	}
	r.loaded(ctx, snapshotter)
	r.loaded(ctx, snapshotter+"-"+suffix)
	third := *r.pod
	other := r.start(ctx, &third, imagePath, []string{"DAEMONSET_NAME=other"})
	err := other.wait()
	report.Want(err != nil, "a DaemonSet installs into the folder of another%s", other.tail())
	r.remove(ctx, second)
	c.terminate(ctx)
	report.Want(c.wait() == nil, "the clean-up of the second installation: %w%s", c.err, c.tail())
	r.same(ctx, r.full, "after the second installation was removed")
	r.works(ctx)
	return fmt.Sprintf("handlers %s, each with its files; the second one was removed without a change to the first; a third in the folder of the first is refused", strings.Join(names, ", "))
}

// sandbox has the CRI run the sandbox of a pod, which starts the shim. How far that comes
// depends on the machine, so where it ends is no failure.
func (r *run) sandbox(ctx context.Context) string {
	err := r.cri.RunPod(ctx, "kata-"+plainShim)
	if err != nil {
		report.Must(report.Missing(fmt.Sprintf("the handler kata-%s is accepted, and its sandbox comes this far here: %v", plainShim, err)))
	}
	return "kata-" + plainShim + " runs a pod's sandbox"
}
