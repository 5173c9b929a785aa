package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func verifyPayloadCmd(a *app) *cobra.Command {
	o := verifyOptions{accel: "tcg"}
	kills := 25
	cmd := &cobra.Command{
		Use:   "payload [LAYOUT]",
		Short: "Prove that the kata-deploy image installs: run it on a node",
		Long: `Run the kata-deploy image of this machine's architecture on a node, as the DaemonSet of
the chart would: by default the one that payload build wrote. The node is a set of
namespaces with the programs of this machine, and with a systemd, a containerd, an etcd
and a kube-apiserver of its own; nothing of this machine changes. Everything runs twice,
on containerd 2.2 and on 1.7. containerd, etcd, kube-apiserver and helm are compiled from
their Go modules once, which takes minutes.

There is no kubelet: the program itself runs the DaemonSet's container, and keeps the
node's conditions by what containerd says.

It installs, pulls images through the snapshotter, restarts, upgrades, removes and
installs again, next to an older snapshotter and to a second installation; it interrupts
the installer at random moments; it lets the API, the disk and containerd fail; and it
has the layouts of k3s, rke2, k0s and microk8s. It needs root.`,
		Example: `  pipelines payload build && sudo pipelines verify payload
  pipelines verify payload build/payload/amd64/image --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			p := payload.Payload{Arch: string(catalog.HostArch()), Kills: kills}
			p.Layout = filepath.Join(ws.Root, "build", "payload", catalog.HostArch().GoArch(), "image")
			if len(args) > 0 {
				p.Layout = args[0]
			}
			return runVerifyPayload(ctx, a, ws, o, p)
		}),
	}
	flags := cmd.Flags()
	flags.IntVar(&kills, "interruptions", kills, "how often the installer is interrupted on each containerd")
	flags.DurationVar(&o.timeout, "timeout", defaultTimeout, "time limit of each start of the node and of each run of the installer")
	a.jsonFlag(flags)
	return cmd
}

func runVerifyPayload(ctx context.Context, a *app, ws *workspace.Workspace, o verifyOptions, p payload.Payload) error {
	if o.timeout <= 0 {
		return usage(fmt.Errorf("--timeout %v: want a time limit such as 5m", o.timeout))
	}
	r := &report.Report{Asset: "payload", Arch: p.Arch, Tarball: workspace.Relative(p.Layout)}
	err := p.Check(ctx, r, o.host(ws, "payload"))
	err = errors.Join(err, a.print(r, reportText(r)))
	if err = cmp.Or(err, r.Err()); err != nil {
		return fmt.Errorf("verifying the payload: %w", err)
	}
	return nil
}
