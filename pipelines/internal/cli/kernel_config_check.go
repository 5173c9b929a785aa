package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// maxConfig is far more than any .config.
const maxConfig = 16 << 20

type kernelConfigCheckOptions struct{ arch, facts string }

func kernelConfigCheckCmd(a *app) *cobra.Command {
	var o kernelConfigCheckOptions
	cmd := &cobra.Command{
		Use:   "check VARIANT FILE",
		Short: "Check the final .config of a kernel",
		Long: `Check a final .config as a build does before it compiles: it has every requested
option by name and value, except those in kernel-configs/exceptions.yaml, and no
option of kernel-configs/debug unless the kernel requests it. With the facts that
the step configure writes next to a .config, the error explains each missing
option.`,
		Example: `  pipelines kernel-config check kernel-debug .config
  pipelines kernel-config check kernel /boot/config-6.18.15 --arch arm64`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: a.with(nil, func(_ context.Context, ws *workspace.Workspace, args []string) error {
			return runKernelConfigCheck(a.Stdout, o, ws, args[0], args[1])
		}),
	}
	kernelArchFlag(cmd, &o.arch)
	cmd.Flags().StringVar(&o.facts, "facts", "", "file of facts about options (default: FILE"+kconfig.FactsSuffix+", if it exists)")
	return cmd
}

func runKernelConfigCheck(w io.Writer, o kernelConfigCheckOptions, ws *workspace.Workspace, name, file string) error {
	k, err := kernel(ws, name, o.arch)
	if err != nil {
		return err
	}
	final, err := files.ReadNamed(file, maxConfig)
	if err != nil {
		return err
	}
	facts, err := readFacts(o.facts, file+kconfig.FactsSuffix)
	if err != nil {
		return err
	}
	if err := k.plan.Check(final, facts); err != nil {
		return err
	}
	tolerated := len(k.plan.Tolerated())
	_, err = fmt.Fprintf(w, "%s on %s: %d options as requested, %d may be missing: ok\n", name, k.arch, len(k.plan.Requested.Options)-tolerated, tolerated)
	return err
}

// readFacts reads the named file, or the usual one if that exists.
func readFacts(named, usual string) (*kconfig.Facts, error) {
	file := named
	if file == "" {
		file = usual
	}
	data, err := files.ReadNamed(file, maxConfig)
	if named == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	facts, err := kconfig.ParseFacts(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return facts, nil
}
