package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/families"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type verifyOptions struct {
	arch          string
	file, modules string
	kernel, base  string
	accel         string
	timeout       time.Duration
	noBoot        bool
	require       []string
}

// defaultTimeout is how long what verify starts may take.
const defaultTimeout = 5 * time.Minute

func verifyCmd(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "Prove that a built asset works: inspect it, and run it",
		Long: `Verify the artifact that the caches have for the key of an asset, or the tarball
that --file names. Every asset is vetted, its ELF files are inspected, and its programs
started. Guest kernels and firmware are booted, QEMU makes machines with all of its
devices, the snapshotter serves a containerd, virtiofsd a folder to a guest, root
filesystems boot until their agent answers, other virtual machine monitors boot a
kernel. "checks" in assets.yaml adapts the common checks to an asset.

Each check prints what it saw. A check that cannot run on this machine is skipped,
says why, and does not count as passed. The result for an artifact of the caches is
stored with it as a proof, which "cache push" publishes and "release" demands; a run
with --no-boot or --file stores none.`,
		Example: `  pipelines verify kernel-debug
  pipelines verify ovmf --require boot --json
  pipelines verify qemu --arch s390x --file build/kata-static-qemu.tar.zst`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runVerify(ctx, a, ws, o, args[0])
		}),
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	a.cacheFlag(flags)
	flags.StringVar(&o.file, "file", "", "tarball to verify instead of the artifact of the caches")
	flags.StringVar(&o.modules, "modules", "", "tarball of the kernel's modules, for --file (default: next to it)")
	flags.StringVar(&o.kernel, "kernel", "", "tarball of the kernel for root filesystems, and for guests of virtiofsd and of VMMs (default: one of the caches)")
	flags.StringVar(&o.base, "base", "", "tarball of the image that an extension boots with (default: that of the caches)")
	flags.StringVar(&o.accel, "accel", "tcg", "accelerator of QEMU: tcg works everywhere, kvm needs the machine's support")
	flags.DurationVar(&o.timeout, "timeout", defaultTimeout, "time limit of each guest or program")
	flags.BoolVar(&o.noBoot, "no-boot", false, "only inspect: start no guest, no snapshotter and no declared program")
	flags.StringSliceVar(&o.require, "require", nil, "checks that fail if they cannot run on this machine")
	a.jsonFlag(flags)
	cmd.AddCommand(verifyPayloadCmd(a), verifyReleaseCmd(a))
	return cmd
}

func runVerify(ctx context.Context, a *app, ws *workspace.Workspace, o verifyOptions, name string) error {
	if o.accel != "tcg" && o.accel != "kvm" {
		return usage(fmt.Errorf("--accel %s: want tcg or kvm", o.accel))
	}
	if o.timeout <= 0 {
		return usage(fmt.Errorf("--timeout %v: want a time limit such as 5m", o.timeout))
	}
	asset, arch, err := ws.One(name, o.arch)
	if err != nil {
		return err
	}
	r, err := o.verify(ctx, a, ws, asset, arch)
	if r != nil {
		err = errors.Join(err, a.print(r, reportText(r)), r.Err())
	}
	if err != nil {
		return fmt.Errorf("verifying %q: %w", name, err)
	}
	return nil
}

// verify runs the checks, and stores the proof of an artifact of the caches. Without
// a report the error says why nothing was checked.
func (o verifyOptions) verify(ctx context.Context, a *app, ws *workspace.Workspace, asset catalog.Asset, arch catalog.Arch) (*report.Report, error) {
	family, err := families.Of(ws.Resolver, asset, arch)
	if err != nil {
		return nil, err
	}
	if err := verify.Known(family, o.require); err != nil {
		return nil, usage(err)
	}
	subject := verify.Artifact{Asset: asset.Name, Arch: string(arch), Tarball: o.file, Outputs: map[string]string{}, Required: o.require}
	for _, output := range asset.Outputs {
		subject.Outputs[output] = cmp.Or(o.modules, filepath.Join(filepath.Dir(o.file), build.OutputName(asset.Name, output)))
	}
	var artifact store.Artifact
	if o.file == "" {
		if artifact, err = ws.Artifact(ctx, asset.Name, arch); err != nil {
			return nil, err
		}
		ws.Report.Note(asset.Name, "verifying the artifact of the key "+shortKey(artifact.Key))
		if subject.Tarball, err = ws.Store.Blob(ctx, artifact, ""); err != nil {
			return nil, err
		}
		for _, output := range artifact.Outputs {
			if subject.Outputs[output.Name], err = ws.Store.Blob(ctx, artifact, output.Name); err != nil {
				return nil, err
			}
		}
	}
	h := o.host(ws, asset.Name)
	if asset.BootsKernel() && h.Kernel == "" && h.Skip == "" {
		h.Kernel = guestKernel(ctx, ws, arch)
	}
	if asset.Extends != "" && h.Base == "" {
		h.Base = cachedTarball(ctx, ws, asset.Extends, arch)
	}
	r, err := verify.Run(ctx, family, subject, h)
	if r != nil {
		r.Tarball = workspace.Relative(subject.Tarball)
	}
	if err != nil || o.file != "" || o.noBoot {
		return r, err
	}
	return r, o.record(ctx, a, ws, artifact, r)
}

// host returns this machine, with the limits of the options.
func (o verifyOptions) host(ws *workspace.Workspace, name string) host.Host {
	const grace = 15 * time.Second
	machine, _ := os.Hostname() // Without one, artifacts cannot contain it.
	h := host.Host{
		Name: machine, Root: ws.Root, Cache: filepath.Join(ws.Cache, "test-tools"), Accelerator: o.accel,
		Timeout: o.timeout, Grace: grace, Subject: name, Reporter: ws.Report, Kernel: o.kernel, Base: o.base,
	}
	if o.noBoot {
		h.Skip = "disabled by --no-boot"
	}
	return h
}

// guestKernel returns the tarball of a guest kernel that the caches have, "" if they have
// none: then checks are skipped, and say so.
func guestKernel(ctx context.Context, ws *workspace.Workspace, arch catalog.Arch) string {
	for _, name := range ws.Catalog.On(arch) {
		if asset, err := ws.Catalog.Find(name, arch); err != nil || asset.Kernel == nil {
			continue
		}
		if path := cachedTarball(ctx, ws, name, arch); path != "" {
			return path
		}
	}
	return ""
}

// cachedTarball returns the tarball of an asset, "" if the caches do not have it.
func cachedTarball(ctx context.Context, ws *workspace.Workspace, name string, arch catalog.Arch) string {
	artifact, err := ws.Artifact(ctx, name, arch)
	if err != nil {
		return ""
	}
	path, err := ws.Store.Blob(ctx, artifact, "")
	if err != nil {
		return ""
	}
	return path
}

// record stores the proof of an artifact, unless it has a proof that says the same.
func (o verifyOptions) record(ctx context.Context, a *app, ws *workspace.Workspace, artifact store.Artifact, r *report.Report) error {
	version, err := ws.Version()
	if err != nil {
		return err
	}
	if commit, err := ws.Git.Head(ctx); err == nil {
		version += "+" + shortKey(commit)
	}
	runner := report.Runner{By: report.Who(a.Getenv), Program: version, Arch: string(catalog.HostArch()), Accelerator: o.accel}
	proof := report.Proof{Version: report.ProofVersion, Subject: release.Subject(artifact), Checks: r.Checks, Required: o.require, Runner: runner}
	there, err := ws.Store.Attached(ctx, artifact, store.Proof)
	if err != nil || !proof.Adds(there) {
		return err
	}
	data, err := proof.Encode()
	if err != nil {
		return err
	}
	return ws.Store.Attach(ctx, artifact, store.Proof, data)
}

// sawLines is how many lines of one check a table shows.
const sawLines = 12

// reportText has what each check saw, the consoles of guests that failed, and a summary.
func reportText(r *report.Report) string {
	var rows []string
	for _, check := range r.Checks {
		lines := strings.Split(check.Saw, "\n")
		if more := len(lines) - sawLines; more > 0 {
			lines = append(lines[:sawLines], fmt.Sprintf("and %d more lines: --json has all of them", more))
		}
		about := fmt.Sprintf("%s\t%s\t", check.Verdict, check.Name)
		for _, line := range lines {
			rows = append(rows, about+progress.Printable(line))
			about = "\t\t"
		}
	}
	text := table(rows, "", func(row string) string { return row })
	for _, check := range r.Checks {
		if len(check.Console) > 0 {
			text += fmt.Sprintf("\nthe end of the console (%s):\n", check.Name)
		}
		for _, line := range check.Console {
			text += "    " + progress.Printable(line) + "\n"
		}
	}
	return text + fmt.Sprintf("\n%s %s: %d passed, %d failed, %d skipped\n", r.Asset, r.Arch, r.Passed, r.Failed, r.Skipped)
}
