package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// group makes a verb one that only has subcommands: without one, or with one that
// does not exist, it is wrong usage.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	var names []string
	for _, subcommand := range subcommands {
		names = append(names, subcommand.Name())
	}
	cmd.AddCommand(subcommands...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		last := len(names) - 1
		choice := strings.Join(names[:last], ", ") + " or " + names[last]
		if len(args) == 0 {
			return usage(fmt.Errorf("missing subcommand: %s", choice))
		}
		return usage(fmt.Errorf("unknown subcommand %q of %s: want %s%s", args[0], cmd.CommandPath(), choice, nearest.Hint(args[0], names)))
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil }
	return cmd
}
