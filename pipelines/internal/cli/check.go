package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func checkCmd(process Process, options *treeOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check versions.yaml, the assets and the kernel configurations",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			tree, err := options.load(process.Stderr)
			if err != nil {
				return err
			}
			if options.versions == "" {
				warn(process.Stderr, tree.warnings)
			}
			checked, err := tree.check()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(process.Stdout, "%d assets, %d recipes: ok\n", len(tree.catalog.Assets), checked)
			return err
		},
	}
}

// check resolves every asset on every architecture and reports all problems.
// Digests of dependencies, which only a build knows, are left open.
func (t *tree) check() (checked int, err error) {
	var problems []error
	seen := map[string]bool{}
	for _, asset := range t.catalog.Assets {
		for _, arch := range asset.Arches {
			checked++
			// A problem of a shared file is the same for every asset.
			if _, err := t.resolver.Resolve(asset, arch, open(asset)); err != nil && !seen[err.Error()] {
				seen[err.Error()] = true
				problems = append(problems, err)
			}
		}
	}
	return checked, errors.Join(problems...)
}
