// Package deploy carries out the actions of kata-deploy: install, cleanup and reset. Each
// is a short story about a plan, the node's files, its services, and what the Kubernetes
// API says and gets to hear.
package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/host"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/node"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// readyLimit is how long a node may take to be ready after the restart of its runtime.
const readyLimit = 5 * time.Minute

// Deploy is what the actions need.
type Deploy struct {
	Host host.Host
	API  *node.Client
	// Out gets the changes of a dry run.
	Out    io.Writer
	DryRun bool
}

// Install brings the node to what the configuration asks for. When the context ends before
// the switch, the node stays as it is.
func (d Deploy) Install(ctx context.Context, c config.Config, payload *components.Payload) error {
	facts, err := d.API.Facts(ctx)
	if err != nil {
		return err
	}
	runtime, err := d.runtime(ctx, facts)
	if err != nil {
		return err
	}
	slog.Info("found the container runtime", "runtime", runtime.Name, "version", facts.Runtime)
	p, err := d.plan(c, payload, runtime, facts)
	if err != nil {
		return err
	}
	warn(c, runtime)
	if err := d.bring(ctx, c.Target, p, payload); err != nil {
		if ctx.Err() == nil { // Otherwise it was asked to stop, which is no failure.
			d.event(ctx, facts, "Warning", "KataInstallFailed", err.Error())
		}
		return fmt.Errorf("installing %s: %w", c.Dir, err)
	}
	if d.DryRun {
		return nil
	}
	if err := d.API.WaitReady(ctx, readyLimit); err != nil {
		return err
	}
	if err := d.classes(ctx, c); err != nil {
		return err
	}
	if err := d.API.SetLabel(ctx, "true"); err != nil {
		return err
	}
	d.event(ctx, facts, "Normal", "KataInstalled", "Kata Containers is installed in "+c.Dir)
	slog.Info("installed", "dir", c.Dir, "files", len(p.Files), "handlers", len(c.Runtimes))
	return nil
}

// warn tells what the node has no use for.
func warn(c config.Config, runtime cri.Runtime) {
	if runtime.Name == cri.Crio && len(c.Snapshotters) > 0 {
		slog.Warn("snapshotters are containerd's: EXPERIMENTAL_SETUP_SNAPSHOTTER is ignored", "runtime", runtime.Name)
	}
	for _, r := range c.Runtimes {
		for _, name := range []string{config.Nydus, config.NydusHostShare} {
			if r.Snapshotter == c.HostName(name) && !slices.Contains(c.Snapshotters, name) {
				slog.Warn("the handler uses a snapshotter that EXPERIMENTAL_SETUP_SNAPSHOTTER does not set up", "handler", r.Handler, "snapshotter", r.Snapshotter)
			}
		}
	}
}

// runtime finds the container runtime of the node.
func (d Deploy) runtime(ctx context.Context, facts node.Facts) (cri.Runtime, error) {
	var active []string
	if strings.HasPrefix(facts.Runtime, "containerd://") {
		var err error
		if active, err = d.Host.Active(ctx, cri.Probes()); err != nil {
			return cri.Runtime{}, fmt.Errorf("finding the container runtime: %w", err)
		}
	}
	return cri.Find(facts.Runtime, facts.Labels, active)
}

func (d Deploy) plan(c config.Config, payload *components.Payload, runtime cri.Runtime, facts node.Facts) (plan.Plan, error) {
	n := plan.Node{Runtime: runtime, Reported: facts.Runtime}
	var err error
	if runtime.Main != "" {
		if n.Main, err = d.Host.Read(runtime.MainPath()); err == nil {
			n.Plugin, err = d.plugin(n.Main, c)
			n.Astray = d.astray(n.Main)
		}
	}
	if err != nil {
		return plan.Plan{}, fmt.Errorf("reading %s: %w", runtime.MainPath(), err)
	}
	return plan.Make(c, payload, n)
}

// plugin returns the table of the CRI plugin that containerd 1 takes without the drop-in of
// this installation: that of the last file that has one.
func (d Deploy) plugin(data []byte, c config.Config) (map[string]any, error) {
	main, err := cri.ParseMain(data)
	if err != nil {
		return nil, err
	}
	plugin := main.Plugin()
	for _, pattern := range main.Imports {
		if !path.IsAbs(pattern) {
			pattern = path.Join(cri.ConfigDir, pattern)
		}
		inside := plan.HostDir + pattern
		if strings.HasPrefix(pattern, cri.ConfigDir+"/") {
			inside = pattern
		}
		for _, file := range d.Host.Glob(inside) {
			if path.Dir(file) == path.Join(plan.Tree(c.Dir), "containerd/config.d") || strings.HasPrefix(path.Base(file), "kata-deploy") {
				continue
			}
			data, err := d.Host.Read(file)
			if err != nil {
				return nil, err
			}
			imported, err := cri.ParseMain(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if other := imported.Plugin(); other != nil {
				plugin = other
			}
		}
	}
	return plugin, nil
}

// astray returns the imports of a configuration that lead to other folders than its own.
func (d Deploy) astray(data []byte) []string {
	main, _ := cri.ParseMain(data) // Its error is that of the plan.
	return slices.DeleteFunc(main.Imports, func(pattern string) bool {
		return !path.IsAbs(pattern) || d.Host.Same(plan.HostDir+path.Dir(path.Dir(pattern)), cri.ConfigDir)
	})
}

// bring brings the node to a plan, and its services with it.
func (d Deploy) bring(ctx context.Context, t config.Target, p plan.Plan, payload *components.Payload) error {
	unlock, err := d.lock(ctx, t)
	if err != nil {
		return err
	}
	defer unlock()
	state, err := d.Host.State(p.Tree)
	if err == nil {
		err = d.owned(ctx, t, state)
	}
	if err != nil {
		return err
	}
	diff, err := d.Host.Diff(ctx, p, state)
	if err != nil {
		return err
	}
	if d.DryRun {
		return d.print(diff)
	}
	if diff.Empty() && state.Next == nil && diff.Services.Empty() && same(state.Current, p) {
		slog.Info("nothing to change", "dir", t.Dir)
		return nil
	}
	for _, c := range diff.Changes() {
		slog.Debug("change", "kind", c.Kind, "path", c.Path, "bytes", c.Size, "detail", c.Detail)
	}
	slog.Info("changing files", "dir", t.Dir, "inside", len(diff.Tree), "outside", len(diff.Outside)+len(diff.Imports), "bytes", diff.Bytes())
	installation, err := d.Host.Switch(ctx, p, payload, state, diff)
	if err != nil {
		return err
	}
	slog.Info("changed files", "dir", t.Dir)
	return d.settle(context.WithoutCancel(ctx), installation)
}

// same reports whether a manifest is that of a plan.
func same(current *plan.Manifest, p plan.Plan) bool {
	if current == nil {
		return len(p.Files) == 0
	}
	one, _ := json.Marshal(current)
	other, _ := json.Marshal(p.Manifest)
	return bytes.Equal(one, other)
}

// settle has the services notice a switch. If one does not come back, neither do the files.
func (d Deploy) settle(ctx context.Context, installation *host.Installation) error {
	services := installation.Services()
	slog.Info("telling services", "reload", services.Reload, "start", services.Start, "restart", services.Restart, "stop", services.Stop)
	err := d.Host.Apply(ctx, services)
	if err == nil {
		return installation.Finish()
	}
	slog.Error("a service does not come back: going back to the former installation", "error", err)
	if back := installation.Back(); back != nil {
		return errors.Join(err, back)
	}
	undone := installation.Undone()
	stop := host.Services{Stop: undone.Stop}
	undone.Stop = nil
	return errors.Join(fmt.Errorf("%w; the former installation is back", err), d.Host.Apply(ctx, undone), d.Host.Apply(ctx, stop))
}

// lock keeps two processes from changing one installation at a time.
func (d Deploy) lock(ctx context.Context, t config.Target) (unlock func(), err error) {
	if d.DryRun {
		return func() {}, nil
	}
	at := path.Join(d.Host.Root, plan.HostDir, "run/kata-deploy", strings.ReplaceAll(strings.Trim(t.Dir, "/"), "/", "-")+".lock")
	if unlock, err = files.TryLock(at); errors.Is(err, files.ErrLocked) {
		slog.Info("waiting for another kata-deploy on this node", "dir", t.Dir)
		unlock, err = files.Lock(ctx, at, files.Waiting{})
	}
	if err != nil {
		return nil, fmt.Errorf("locking the installation: %w", err)
	}
	return unlock, nil
}

// owned refuses to take over the installation of another DaemonSet that is still there.
func (d Deploy) owned(ctx context.Context, t config.Target, state host.State) error {
	owner := state.Owner()
	namespace, name, found := strings.Cut(owner, "/")
	if !found || owner == t.Owner() {
		return nil
	}
	exists, err := d.API.DaemonSetExists(ctx, namespace, name)
	if err == nil && exists {
		err = fmt.Errorf("%s is the installation of the DaemonSet %s: give this one another MULTI_INSTALL_SUFFIX, or remove that one", t.Dir, owner)
	}
	return err
}

// print writes the changes of a dry run.
func (d Deploy) print(diff host.Diff) error {
	w := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	for _, c := range diff.Changes() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Kind, c.Path, detail(c))
	}
	for _, s := range []struct {
		verb  string
		units []string
	}{{"start", diff.Start}, {"restart", diff.Restart}, {"stop", diff.Stop}} {
		for _, unit := range s.units {
			fmt.Fprintf(w, "%s\t%s\t\n", s.verb, unit)
		}
	}
	if diff.Empty() && diff.Services.Empty() {
		fmt.Fprintln(w, "nothing to change")
	}
	return w.Flush()
}

func detail(c host.Change) string {
	if c.Detail != "" || c.Kind == host.Remove {
		return c.Detail
	}
	return fmt.Sprintf("%d bytes", c.Size)
}
