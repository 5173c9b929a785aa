package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func checkCmd(a *app) *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check versions.yaml, the assets and the kernel configurations",
		Long: `Check versions.yaml, the assets, the release sets and the kernel configurations: every
recipe must resolve. With a base, also check that kernel-configs/kata_config_version
has grown if the requested options differ from those at the fork from the base.`,
		Example: `  pipelines check
  pipelines check --base main`,
		Args: arguments(cobra.NoArgs),
		RunE: a.with(nil, func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			return runCheck(ctx, a.Stdout, base, ws)
		}),
	}
	cmd.Flags().StringVar(&base, "base", a.Getenv("GITHUB_BASE_REF"),
		"git revision that this branch is to be merged into (default: $GITHUB_BASE_REF, or none)")
	return cmd
}

func runCheck(ctx context.Context, w io.Writer, base string, ws *workspace.Workspace) error {
	checked, err := ws.Check()
	if base != "" {
		err = errors.Join(err, ws.CheckRaised(ctx, base))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%d assets, %d recipes: ok\n", len(ws.Catalog.Assets), checked)
	return err
}
