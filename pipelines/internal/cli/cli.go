// Package cli is the command line: one file per verb, each with an options struct, its
// flags, and a run function that calls the packages that do the work. Results go to
// stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong
// usage.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
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
	if _, ok := errors.AsType[*workspace.UsageError](err); ok {
		return 2
	}
	return 1
}

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
		bumpCmd(a),
		rootfsCmd(a),
		archiveCmd(a),
		sbomCmd(a),
		mergeCmd(a),
		reportCmd(a),
		payloadCmd(a),
		releaseCmd(a),
		doctorCmd(a),
		engineCmd(a),
	)
	checkArguments(cmd)
	return cmd
}

// group returns a verb that only has subcommands. On its own it is wrong usage.
func group(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(verbs...)
	cmd.Args = unknownVerb
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		names := verbNames(cmd)
		if last := len(names) - 1; last > 0 {
			names = []string{strings.Join(names[:last], ", "), names[last]}
		}
		return usage(fmt.Errorf("missing subcommand: %s (see `%s --help`)", strings.Join(names, " or "), cmd.CommandPath()))
	}
	return cmd
}

// unknownVerb refuses arguments where a verb is expected, and suggests one.
func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(fmt.Errorf("unknown command %q%s (see `%s --help`)", args[0], nearest.Hint(args[0], verbNames(cmd)), cmd.CommandPath()))
}

// verbNames are the verbs below one, without hidden ones.
func verbNames(cmd *cobra.Command) []string {
	var names []string
	for _, verb := range cmd.Commands() {
		if verb.IsAvailableCommand() && verb.Name() != "help" {
			names = append(names, verb.Name())
		}
	}
	return names
}

// checkArguments turns errors about the arguments of verbs into usage errors. A verb that
// declares no arguments takes none.
func checkArguments(cmd *cobra.Command) {
	for _, verb := range cmd.Commands() {
		checkArguments(verb)
	}
	if cmd.HasSubCommands() && !strings.Contains(cmd.Use, " ") {
		return // The argument of a group is a verb.
	}
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(fmt.Errorf("%w (usage: %s)", err, cmd.UseLine()))
		}
		return nil
	}
}
