package payload

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// label is the label of nodes that run Kata, and prefix the folder of the installation.
const (
	label  = "katacontainers.io/kata-runtime"
	prefix = "/opt/kata"
)

// shims are the values of the chart that enable both shims, with some further ones.
func shims(more values) values {
	v := values{
		"shims": values{
			"disableAll": true, plainShim: values{"enabled": true},
			guestShim: values{"enabled": true, "containerd": values{"snapshotter": "nydus"}},
		},
		"snapshotter": values{"setup": []string{"nydus"}},
		"image":       values{"reference": "example.org/kata-deploy@sha256:" + strings.Repeat("0", 64), "tag": ""},
	}
	maps.Copy(v, more)
	return v
}

// up creates the DaemonSet and has its pod install an image.
func (r *run) up(ctx context.Context, image string) {
	r.apply(ctx, r.pod)
	r.main = r.start(ctx, r.pod, image, nil).installed()
}

// down ends the pod of the DaemonSet.
func (r *run) down(ctx context.Context) { r.main.terminate(ctx).succeeds("the end of the pod") }

// dryRun expects a plan of an installation, and no change.
func (r *run) dryRun(ctx context.Context) string {
	r.pod = report.Try(r.render(ctx, shims(nil)))
	r.apply(ctx, r.pod)
	c := r.start(ctx, r.pod, imagePath, nil, "install", "--dry-run")
	c.succeeds("kata-deploy install --dry-run")
	r.same(ctx, r.empty, "after a dry run")
	for _, want := range []string{prefix, "config.toml", snapshotter} {
		report.Want(c.prints(want), "the plan does not name %s%s", want, c.tail())
	}
	return fmt.Sprintf("the plan has %d lines, and nothing changed", len(c.lines()))
}

// install installs the image on the node, and expects everything to work.
func (r *run) install(ctx context.Context) string {
	began := time.Now()
	r.up(ctx, imagePath)
	peak := r.main.peak()
	r.took = time.Since(began)
	r.full = r.tree(ctx)
	handlers, listed := r.works(ctx), r.agrees(ctx, r.pod, prefix)
	const most = 64 << 20
	report.Want(peak < most, "the installer had %s of memory: want less than %s", progress.Size(peak), progress.Size(most))
	return fmt.Sprintf("in %v, with %s of memory: %d files, as the manifest lists them; containerd has the handlers %s and the snapshotter %s; the node has the label %s, and the events %s",
		r.took.Round(10*time.Millisecond), progress.Size(peak), listed, handlers, snapshotter, label, r.events(ctx))
}

// works expects a whole installation on the node: label, handlers with the files that they
// name, snapshotters. It returns the handlers.
func (r *run) works(ctx context.Context) string {
	labels := report.Try(r.api.Labels(ctx))
	report.Want(labels[label] == "true", "the node's label %s is %q: want true", label, labels[label])
	names := r.handlers(ctx)
	r.has(names, "")
	r.loaded(ctx, snapshotter)
	r.loaded(ctx, older)
	return strings.Join(names, ", ")
}

// has expects the handlers of both shims, with a suffix.
func (r *run) has(names []string, suffix string) {
	for _, shim := range []string{plainShim, guestShim} {
		report.Want(slices.Contains(names, "kata-"+shim+suffix), "containerd has the handlers %s: want kata-%s", names, shim+suffix)
	}
}

// loaded expects containerd to have a snapshotter, which makes a snapshot.
func (r *run) loaded(ctx context.Context, name string) {
	report.Must(r.cri.Plugin(ctx, "io.containerd.snapshotter.v1", name))
	r.count++
	key := fmt.Sprintf("served-%d", r.count)
	report.Try(r.cri.Prepare(ctx, name, key, ""))
	report.Must(r.cri.Remove(ctx, name, key))
}

// handlers returns the names of Kata's handlers that containerd has accepted, and expects
// the shim and the configuration of each.
func (r *run) handlers(ctx context.Context) (names []string) {
	for _, h := range report.Try(r.cri.Handlers(ctx)) {
		if !strings.HasPrefix(h.Name, "kata-") {
			continue
		}
		names = append(names, h.Name)
		for _, path := range []string{h.Path, h.Options.ConfigPath} {
			_, err := os.Stat(r.node.Path(path))
			report.Want(err == nil, "the handler %s names a file that is not there: %w", h.Name, err)
		}
		report.Want(h.Name != "kata-"+guestShim || h.Snapshotter == snapshotter, "the handler %s has the snapshotter %q: want %s", h.Name, h.Snapshotter, snapshotter)
	}
	return names
}

// events returns the reasons of the node's events.
func (r *run) events(ctx context.Context) string {
	var list struct{ Items []struct{ Reason string } }
	report.Must(r.api.Do(ctx, http.MethodGet, "/api/v1/events?fieldSelector=involvedObject.kind=Node", nil, &list))
	var reasons []string
	for _, item := range list.Items {
		reasons = append(reasons, item.Reason)
	}
	report.Want(len(reasons) > 0, "the node has no event%s", r.main.tail())
	slices.Sort(reasons)
	return strings.Join(slices.Compact(reasons), ", ")
}

// pull has the CRI pull an image for the handler whose images the guest pulls, and makes
// the snapshot of a container: of an image that was there before, if this is not the first
// time, and of a new one.
func (r *run) pull(ctx context.Context) string {
	old := r.pullOne(ctx, "an image")
	r.pullOne(ctx, fmt.Sprintf("image %d", r.count))
	return fmt.Sprintf("%s and another one, for kata-%s: containerd fetched no layer, and the snapshot of a container has a volume for the guest", old, guestShim)
}

// pullOne pulls an image whose only file has some content: with the same content the layer
// is there already when the image is pulled again.
func (r *run) pullOne(ctx context.Context, content string) string {
	image := r.serve(ctx, "mark", content)
	defer image.Close()
	report.Must(r.cri.Pull(ctx, "kata-"+guestShim, image.Ref))
	r.count++
	key := fmt.Sprintf("container-%d", r.count)
	server := r.cri.In(containerd.CRI)
	mounts := report.Try(server.Prepare(ctx, snapshotter, key, image.Diff.String()))
	report.Must(server.Remove(ctx, snapshotter, key))
	report.Want(!slices.Contains(image.Asked(), image.Layer), "containerd fetched the layer %s, which the guest pulls", image.Layer)
	const option = "io.katacontainers.volume="
	report.Want(len(mounts) == 1 && slices.ContainsFunc(mounts[0].GetOptions(), func(o string) bool { return strings.HasPrefix(o, option) }),
		"the mounts of a container are %v: want an option %s", mounts, option)
	return image.Ref
}

// sandbox has the CRI run the sandbox of a pod, which starts the shim, and that a guest. Where
// it ends is no failure on a machine that runs no guests, or with an image of stand-ins.
func (r *run) sandbox(ctx context.Context) string {
	if err := r.cri.RunPod(ctx, "kata-"+plainShim); err != nil {
		kvm := "/dev/kvm can be used"
		if unusable := host.Usable("/dev/kvm"); unusable != nil {
			kvm = unusable.Error()
		}
		report.Must(report.Missing(fmt.Sprintf("containerd accepts the handler kata-%s and starts its shim, and there the sandbox ends: %v; a guest needs the shim and the hypervisor of a release, and KVM: %s", plainShim, err, kvm)))
	}
	return "kata-" + plainShim + " runs a pod's sandbox"
}

// restart ends the pod while its DaemonSet exists, and starts it again, as an update of
// the cluster does: nothing changes, and containerd is not restarted.
func (r *run) restart(ctx context.Context) string {
	before := r.processes(ctx)
	r.down(ctx)
	r.same(ctx, r.full, "after the end of a pod whose DaemonSet exists")
	began := time.Now()
	r.up(ctx, imagePath)
	took := time.Since(began)
	r.same(ctx, r.full, "after a second installation of the same image")
	after := r.processes(ctx)
	report.Want(before == after, "services were restarted though nothing changed: %s before, %s after", before, after)
	r.works(ctx)
	r.pull(ctx)
	return fmt.Sprintf("the pod ended and came back, ready after %v: no file changed, containerd and the snapshotter kept running, and images can be pulled", took.Round(10*time.Millisecond))
}

// processes returns the processes of the services, which a restart changes.
func (r *run) processes(ctx context.Context) string {
	printed := report.Try(r.node.Run(ctx, "systemctl", "show", "--property=Id,MainPID", "containerd", snapshotter, "nydus-snapshotter"))
	return strings.Join(strings.Fields(printed), " ")
}

// upgrade installs an image that lacks a component, as another version may, and goes back.
func (r *run) upgrade(ctx context.Context) string {
	r.down(ctx)
	data, began := r.dataOf(ctx), time.Now()
	r.up(ctx, upgradePath)
	r.changed = time.Since(began)
	r.upgraded = r.tree(ctx)
	gone := r.full.installation().differences(r.upgraded.installation())
	report.Want(len(gone) > 0 && !strings.Contains(strings.Join(gone, ""), "+"), "the new image lacks the component %s, and the upgrade changed:\n%s", r.component, strings.Join(gone, "\n"))
	r.agrees(ctx, r.pod, prefix)
	r.works(ctx)
	r.pull(ctx)
	r.down(ctx)
	r.up(ctx, imagePath)
	r.same(ctx, r.full, "after going back to the first image")
	r.pull(ctx)
	report.Want(data == r.dataOf(ctx), "the data folder of the snapshotter was replaced")
	return fmt.Sprintf("the new image removed the component %s, and the old one added it again; images can be pulled; the snapshotter's data stayed", r.component)
}

// dataOf identifies the data folder of the snapshotter.
func (r *run) dataOf(ctx context.Context) string {
	return report.Try(r.node.Run(ctx, "stat", "--format=%i %W", "/var/lib/"+snapshotter))
}

// several installs a second time next to the first, by a suffix, and removes that again. A
// DaemonSet that would share the folder of another is refused.
func (r *run) several(ctx context.Context) string {
	if r.containerd == testtools.Containerd1 {
		return "containerd 1 replaces the runtimes of one drop-in by those of the next, so MULTI_INSTALL_SUFFIX is refused: see bad input"
	}
	const suffix = "two"
	second := report.Try(r.render(ctx, shims(values{"env": values{"multiInstallSuffix": suffix}})))
	r.apply(ctx, second)
	c := r.start(ctx, second, imagePath, nil).installed()
	r.agrees(ctx, r.pod, prefix)
	r.agrees(ctx, second, prefix+"-"+suffix)
	diff := r.full.installation().differences(r.tree(ctx).installation())
	report.Want(len(diff) == 0, "the second installation changed the first:\n%s", strings.Join(diff, "\n"))
	names := r.handlers(ctx)
	r.has(names, "")
	r.has(names, "-"+suffix)
	r.loaded(ctx, snapshotter)
	r.loaded(ctx, snapshotter+"-"+suffix)
	other := r.start(ctx, r.pod, imagePath, []string{"DAEMONSET_NAME=other"})
	report.Want(other.wait() != nil, "a DaemonSet installs into the folder of another%s", other.tail())
	r.remove(ctx, second)
	c.terminate(ctx).succeeds("the clean-up of the second installation")
	r.same(ctx, r.full, "after the second installation was removed")
	r.works(ctx)
	return fmt.Sprintf("handlers %s, each with its files; the second one was removed without a change to the first; a third in the folder of the first is refused", strings.Join(names, ", "))
}

// uninstall deletes the DaemonSet, and expects the node as it was before.
func (r *run) uninstall(ctx context.Context) string {
	data := r.dataOf(ctx)
	r.remove(ctx, r.pod)
	r.down(ctx)
	r.same(ctx, r.empty, "after the installation was removed")
	labels := report.Try(r.api.Labels(ctx))
	_, labelled := labels[label]
	report.Want(!labelled, "the node still has the label %s", label)
	names := r.handlers(ctx)
	report.Want(len(names) == 0, "containerd still has the handlers %s", names)
	r.loaded(ctx, older)
	report.Want(data == r.dataOf(ctx), "the data folder of the snapshotter was replaced")
	return "the files of the node are those before; no label, no handler; the older snapshotter serves, and the data of ours is kept"
}

// again installs on a node that had an installation before: its snapshots are still known
// to containerd.
func (r *run) again(ctx context.Context) string {
	r.up(ctx, imagePath)
	r.same(ctx, r.full, "after installing again")
	r.works(ctx)
	r.pull(ctx)
	return "the files are those of the first installation; the image of then and a new one can be pulled"
}

// known is what the snapshotter logs when it finds its own record of a snapshot after a
// restart: it goes on, because guests pull their images themselves.
const known = "RAFS instance has associated with snapshot"

// logs expects no service to have found what it should not.
func (r *run) logs(ctx context.Context) string {
	printed := report.Try(r.node.Run(ctx, "journalctl", "--no-pager", "--output=cat"))
	var bad []string
	for line := range strings.Lines(printed) {
		if strings.Contains(line, "already exists") && !strings.Contains(line, known) {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	report.Want(len(bad) == 0, "the journal has %d lines with \"already exists\":\n%s", len(bad), strings.Join(bad[:min(5, len(bad))], "\n"))
	return fmt.Sprintf("of %d lines of the journal, %d say that the snapshotter found its own record of a snapshot after a restart, and none that anything else already exists",
		strings.Count(printed, "\n"), strings.Count(printed, known))
}
