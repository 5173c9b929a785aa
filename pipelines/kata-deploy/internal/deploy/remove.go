package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/host"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/node"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// Cleanup removes what the manifest lists. While the installation's own DaemonSet exists it
// does nothing: the pod is only being replaced, and guests that run need the files.
func (d Deploy) Cleanup(ctx context.Context, t config.Target) error {
	exists, err := d.API.DaemonSetExists(ctx, t.Namespace, t.DaemonSet)
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	if exists {
		slog.Info("the DaemonSet exists, so the installation stays", "daemonset", t.Owner())
		return nil
	}
	others, err := d.API.OtherDaemonSets(ctx)
	if err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	state, err := d.Host.State(plan.Tree(t.Dir))
	if err != nil {
		return err
	}
	if d.DryRun {
		return d.bring(ctx, t, plan.Empty(plan.Tree(t.Dir)), nil)
	}
	// The label goes first: no pod is to come while the files go. On k3s the restart of
	// the runtime can end this process, too.
	if others == 0 {
		if err := d.API.RemoveLabel(ctx); err != nil {
			return err
		}
		slog.Info("removed the label of the node", "label", node.Label)
	} else {
		slog.Info("other installations remain, and so does the label of the node", "daemonsets", others)
	}
	if t.RuntimeClasses || t.DefaultClass {
		if err := d.API.RemoveClasses(ctx, t.Instance()); err != nil {
			return err
		}
	}
	if !state.Installed() {
		slog.Info("nothing is installed", "dir", t.Dir)
		return nil
	}
	facts, err := d.API.Facts(ctx)
	if err != nil {
		return err
	}
	if err := d.bring(ctx, t, plan.Empty(plan.Tree(t.Dir)), nil); err != nil {
		d.event(ctx, facts, "Warning", "KataRemovalFailed", err.Error())
		return fmt.Errorf("removing %s: %w", t.Dir, err)
	}
	if err := d.API.WaitReady(ctx, readyLimit); err != nil {
		return err
	}
	d.event(ctx, facts, "Normal", "KataRemoved", "Kata Containers was removed from "+t.Dir)
	slog.Info("removed", "dir", t.Dir)
	return nil
}

// Reset takes the node out of service for Kata, and restarts what runs its containers.
func (d Deploy) Reset(ctx context.Context) error {
	facts, err := d.API.Facts(ctx)
	if err != nil {
		return err
	}
	runtime, err := d.runtime(ctx, facts)
	if err != nil {
		return err
	}
	services := host.Services{Reload: true}
	if runtime.Service != "" {
		services.Restart = append(services.Restart, runtime.Service)
	}
	if runtime.Name == cri.Crio || runtime.Name == "containerd" {
		services.Restart = append(services.Restart, "kubelet")
	}
	if d.DryRun {
		return d.print(host.Diff{Services: services})
	}
	if err := d.API.RemoveLabel(ctx); err != nil {
		return err
	}
	if err := d.Host.Apply(ctx, services); err != nil {
		return fmt.Errorf("resetting the node: %w", err)
	}
	return d.API.WaitReady(ctx, readyLimit)
}

func (d Deploy) event(ctx context.Context, facts node.Facts, kind, reason, message string) {
	if !d.DryRun {
		d.API.Event(context.WithoutCancel(ctx), kind, reason, message, facts.UID)
	}
}

// overhead is what a pod needs besides its containers, by the beginning of its shim's name.
// The first one that matches counts. The figures are those of Kata's chart.
var overhead = []struct{ prefix, memory, cpu string }{
	{"qemu-nvidia-gpu", "10240Mi", "1.0"},
	{"qemu-snp", "2048Mi", "1.0"},
	{"qemu-tdx", "2048Mi", "1.0"},
	{"qemu-cca", "2048Mi", "1.0"},
	{"qemu-se", "1024Mi", "1.0"},
	{"qemu", "160Mi", "250m"},
	{"remote", "120Mi", "250m"},
	{"", "130Mi", "250m"},
}

// classes applies the RuntimeClasses that are asked for.
func (d Deploy) classes(ctx context.Context, c config.Config) error {
	for _, r := range c.Runtimes {
		class := node.Class{Name: r.Handler, Handler: r.Handler, Instance: c.Instance()}
		for _, o := range overhead {
			if strings.HasPrefix(r.Shim, o.prefix) {
				class.Memory, class.CPU = o.memory, o.cpu
				break
			}
		}
		if c.RuntimeClasses && !r.Custom {
			if err := d.API.ApplyClass(ctx, class); err != nil {
				return err
			}
		}
		if c.DefaultClass && !r.Custom && c.Suffix == "" && r.Shim == c.DefaultShim {
			class.Name = "kata"
			if err := d.API.ApplyClass(ctx, class); err != nil {
				return err
			}
		}
	}
	return nil
}
