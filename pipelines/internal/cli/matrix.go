package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/matrix"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func matrixCmd(a *app) *cobra.Command {
	var o matrix.Options
	var arch string
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Print the assets as the matrix of a job of GitHub Actions",
		Long: `Print the assets of an architecture as the matrix of a job of GitHub Actions, one
line of JSON, dependencies first: of one stage, or of all. The assets of a stage
depend only on assets of earlier stages, so they can be built at the same time; a
stage that does not exist has none. Each has the label of a machine that builds it:
x86_64 if there are cross compilers, or else one of its own architecture. An asset
that needs a source without a pinned commit is left out, with a message, and so is
everything that depends on it; with --anybody, also an asset that needs a secret.

In a step of GitHub Actions the output "matrix" of the step is set as well.`,
		Example: `  pipelines matrix --arch arm64
  pipelines matrix --stage 1 --anybody`,
		Args: arguments(func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("stage") && o.Stage < 1 {
				return fmt.Errorf("--stage %d: stages count from 1", o.Stage)
			}
			return cobra.NoArgs(cmd, args)
		}),
		RunE: a.with(nil, func(_ context.Context, ws *workspace.Workspace, _ []string) (err error) {
			if o.Arch, err = workspace.Arch(arch); err != nil {
				return err
			}
			return runMatrix(a, ws, o)
		}),
	}
	archFlag(cmd.Flags(), &arch)
	cmd.Flags().IntVar(&o.Stage, "stage", 0, "print only this stage, counted from 1 (default: all)")
	cmd.Flags().BoolVar(&o.Anybody, "anybody", false, "leave out assets that need a secret")
	return cmd
}

func runMatrix(a *app, ws *workspace.Workspace, o matrix.Options) error {
	m, left, err := matrix.New(ws.Catalog, ws.Resolver.Versions, o)
	if err != nil {
		return err
	}
	for _, why := range left {
		fmt.Fprintf(a.Stderr, "left out: %s\n", why)
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.Stdout, "%s\n", line); err != nil {
		return err
	}
	return a.output("matrix", string(line))
}
