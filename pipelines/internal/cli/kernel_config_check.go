package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type kernelConfigCheckOptions struct{ arch, facts string }

func kernelConfigCheckCmd(a *app) *cobra.Command {
	var o kernelConfigCheckOptions
	cmd := &cobra.Command{
		Use:   "check VARIANT FILE",
		Short: "Hold a final .config against what is requested for a kernel",
		Long: `Assert every requested option in a final .config by name and value, as a build
does before it compiles, with the exceptions of kernel-configs/exceptions.yaml;
and that nothing of kernel-configs/debug is on in a kernel that does not name it.
With the facts that the step configure leaves beside a .config, the error says for
each missing option what it depends on.`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ws, err := a.open(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer ws.Close()
			return runKernelConfigCheck(a.Stdout, o, ws, args[0], args[1])
		},
	}
	kernelArchFlag(cmd, &o.arch)
	cmd.Flags().StringVar(&o.facts, "facts", "", "file of facts about options (default: FILE"+kconfig.FactsSuffix+", where it is there)")
	return cmd
}

func runKernelConfigCheck(w io.Writer, o kernelConfigCheckOptions, ws *workspace.Workspace, name, file string) error {
	k, err := kernel(ws.Catalog, ws.Resolver.Tree, name, o.arch)
	if err != nil {
		return err
	}
	final, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	facts, err := readFacts(o.facts, file+kconfig.FactsSuffix)
	if err != nil {
		return err
	}
	tolerated, version, err := exceptions(ws, k)
	if err != nil {
		return err
	}
	err = errors.Join(
		k.set.CheckExplained(final, facts, tolerated, k.arch.Kernel(), version),
		kconfig.CheckNoDebug(ws.Files(), k.asset.Kernel.Folders(k.arch), k.arch.Kernel(), final),
	)
	if err != nil {
		return err
	}
	missing := len(kconfig.Tolerated(k.set, tolerated, k.arch.Kernel(), version))
	_, err = fmt.Fprintf(w, "%s on %s: %d requested options came out, %d may be missing: ok\n", name, k.arch, len(k.set.Options)-missing, missing)
	return err
}

// readFacts reads the named file, or the usual one where that exists.
func readFacts(named, usual string) (*kconfig.Facts, error) {
	file := named
	if file == "" {
		file = usual
	}
	data, err := os.ReadFile(file)
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
