// Package cli is the command line: one file per verb, each an options struct,
// its flags, and a run function that calls what does the work. Results go to
// stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong
// usage.
package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, args []string, process Process) int {
	root := rootCmd(&app{Process: process})
	root.SetArgs(args)
	root.SetOut(process.Stdout)
	root.SetErr(process.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	process.report(ctx, err)
	var usage *workspace.UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// usage marks an error as one of the command line.
func usage(err error) error { return workspace.Usage(err) }

func rootCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "pipelines",
		Short:         "Build the assets of a Kata Containers release",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath()))
	})
	a.flags(cmd.PersistentFlags())
	cmd.AddCommand(
		buildAssetCmd(a),
		listCmd(a),
		planCmd(a),
		explainCmd(a),
		graphCmd(a),
		matrixCmd(a),
		checkCmd(a),
		kernelConfigCmd(a),
		cacheCmd(a),
		verifyCmd(a),
		sourceCmd(a),
		archiveCmd(a),
		mergeCmd(a),
		reportCmd(a),
		payloadCmd(a),
		releaseCmd(a),
		doctorCmd(a),
		engineCmd(a),
	)
	return cmd
}
