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
		Long: `Check versions.yaml, the assets and the kernel configurations. With a base, also
that kernel-configs/kata_config_version has grown where the options that fragments
request are others than where this branch left the base.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ws, err := a.open(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer ws.Close()
			if !ws.Foreign {
				warn(a.Stderr, ws.Warnings)
			}
			return runCheck(cmd.Context(), a.Stdout, base, ws)
		},
	}
	cmd.Flags().StringVar(&base, "base", a.Getenv("GITHUB_BASE_REF"),
		"git revision that this branch is to be merged into (default: $GITHUB_BASE_REF; none where that is empty)")
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
