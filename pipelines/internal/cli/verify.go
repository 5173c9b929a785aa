package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type verifyOptions struct {
	arch    string
	file    string
	modules string
	accel   string
	timeout time.Duration
	noBoot  bool
	json    bool
}

func verifyCmd(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "Prove that a built asset works: inspect it, and run it",
		Long: `Look at the tarball of an asset: the one that --file names, else the one in the
build folder, else the one that the local cache has for the asset's key. Guest
kernels and firmware are inspected and booted, QEMU makes machines with all of its
devices, the snapshotter serves a containerd. Prints what each check saw; a check
that cannot run on this machine says why, and does not count as passed.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, o, args[0]) },
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	flags.StringVar(&o.file, "file", "", "tarball to look at")
	flags.StringVar(&o.modules, "modules", "", "tarball of the kernel's modules (default: beside the kernel's)")
	flags.StringVar(&o.accel, "accel", "tcg", "what QEMU boots with: tcg works everywhere, kvm where the machine has it")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long a guest or program may take")
	flags.BoolVar(&o.noBoot, "no-boot", false, "start no guest and no snapshotter, only inspect")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func runVerify(ctx context.Context, a *app, o verifyOptions, name string) (err error) {
	if o.accel != "tcg" && o.accel != "kvm" {
		return usage(fmt.Errorf("--accel %s: want tcg or kvm", o.accel))
	}
	ws, err := a.open(ctx, "")
	if err != nil {
		return err
	}
	defer ws.Close()
	asset, arch, err := ws.One(name, o.arch)
	if err != nil {
		return err
	}
	note := func(text string) { ws.Report.Note(name, text) }
	prove, err := o.proof(ws, asset, arch, note)
	if err != nil {
		return fmt.Errorf("verifying %q: %w", name, err)
	}
	if prove == nil {
		return fmt.Errorf("verifying %q: nothing to check: %s declares no verify, which would be one of %s", name, asset.Pos, strings.Join(catalog.Kinds, ", "))
	}
	scratch, err := os.MkdirTemp("", "kata-verify-")
	if err != nil {
		return fmt.Errorf("verifying %q: %w", name, err)
	}
	defer os.RemoveAll(scratch)
	tarball, err := o.tarball(ctx, ws, asset, arch, scratch, note)
	if err != nil {
		return fmt.Errorf("verifying %q: %w", name, err)
	}
	note("looking at " + workspace.Relative(tarball))
	report, err := prove(ctx, tarball)
	if err != nil {
		return fmt.Errorf("verifying %q: %w", name, err)
	}
	report.Tarball = workspace.Relative(tarball)
	if o.json {
		err = printJSON(a.Stdout, report)
	} else {
		err = printReport(a.Stdout, report)
	}
	if failed := report.Err(); failed != nil {
		err = errors.Join(err, fmt.Errorf("verifying %q: %w", name, failed))
	}
	return err
}

// tarball finds the one to look at. One of the cache is put into scratch, with
// its secondary ones.
func (o verifyOptions) tarball(ctx context.Context, ws *workspace.Workspace, asset catalog.Asset, arch catalog.Arch, scratch string, note func(string)) (string, error) {
	if o.file != "" {
		return o.file, nil
	}
	built := filepath.Join(ws.Root, "build", build.TarballName(asset.Name))
	if _, err := os.Stat(built); !errors.Is(err, fs.ErrNotExist) {
		return built, err
	}
	plan, err := ws.Resolver.Resolve(asset, arch, nil)
	if err != nil {
		return "", err
	}
	local := ws.Store.Local
	artifact, err := local.Get(ctx, store.Ref{Asset: asset.Name, Arch: string(arch), Key: plan.Key})
	if store.IsNotFound(err) {
		return "", fmt.Errorf("neither %s nor the local cache has it: build it with `build-asset`, or name a tarball with --file", workspace.Relative(built))
	}
	if err != nil {
		return "", err
	}
	tarball := filepath.Join(scratch, build.TarballName(asset.Name))
	if _, err := local.Export(ctx, artifact, "", tarball); err != nil {
		return "", err
	}
	for _, output := range artifact.Outputs {
		if _, err := local.Export(ctx, artifact, output.Name, filepath.Join(scratch, build.OutputName(asset.Name, output.Name))); err != nil {
			return "", err
		}
	}
	note("from the local cache, key " + plan.Key[:12])
	return tarball, nil
}

// sawLines is how many lines of one check a table shows.
const sawLines = 12

// printReport writes what each check saw, the consoles of guests that failed,
// and a summary.
func printReport(w io.Writer, report *verify.Report) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, check := range report.Checks {
		verdict, name := string(check.Verdict), check.Name
		lines := strings.Split(check.Saw, "\n")
		if more := len(lines) - sawLines; more > 0 {
			lines = append(lines[:sawLines], fmt.Sprintf("and %d lines more: --json has them all", more))
		}
		for _, line := range lines {
			fmt.Fprintf(table, "%s\t%s\t%s\n", verdict, name, progress.Printable(line))
			verdict, name = "", ""
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, check := range report.Checks {
		if len(check.Console) > 0 {
			fmt.Fprintf(&text, "\nthe end of the console (%s):\n", check.Name)
		}
		for _, line := range check.Console {
			fmt.Fprintln(&text, "    "+progress.Printable(line))
		}
	}
	fmt.Fprintf(&text, "\n%s %s: %d passed, %d failed, %d skipped\n", report.Asset, report.Arch, report.Passed, report.Failed, report.Skipped)
	_, err := io.WriteString(w, text.String())
	return err
}
