package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// group returns a verb that only holds others. On its own it is wrong usage.
func group(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(verbs...)
	cmd.Args = unknownVerb
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		names := verbNames(cmd)
		last := len(names) - 1
		return usage(fmt.Errorf("missing subcommand: %s or %s (see `%s --help`)", strings.Join(names[:last], ", "), names[last], cmd.CommandPath()))
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

// arguments turns cobra's complaint about a number of arguments into a usage
// error.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(fmt.Errorf("%w (usage: %s)", err, cmd.UseLine()))
		}
		return nil
	}
}
