package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

type checkOptions struct{ base string }

func checkCmd(process Process, options *treeOptions) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check versions.yaml, the assets and the kernel configurations",
		Long: `Check versions.yaml, the assets and the kernel configurations. With a base, also
that kernel-configs/kata_config_version has grown where the options that fragments
request are others than where this branch left the base.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tree, err := options.load(process.Stderr)
			if err != nil {
				return err
			}
			if options.versions == "" {
				warn(process.Stderr, tree.warnings)
			}
			return runCheck(cmd.Context(), process.Stdout, o, tree)
		},
	}
	cmd.Flags().StringVar(&o.base, "base", process.Getenv("GITHUB_BASE_REF"),
		"git revision that this branch is to be merged into (default: $GITHUB_BASE_REF; none where that is empty)")
	return cmd
}

func runCheck(ctx context.Context, w io.Writer, o checkOptions, tree *tree) error {
	checked, err := tree.check()
	if o.base != "" {
		err = errors.Join(err, tree.checkRaised(ctx, o.base))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%d assets, %d recipes: ok\n", len(tree.catalog.Assets), checked)
	return err
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
	return checked, errors.Join(append(problems, t.checkShims())...)
}

// checkShims holds the shims of the kata-deploy image, if the tree has any, to the
// assets and to what the image will have.
func (t *tree) checkShims() error {
	shims, err := t.catalog.LoadShims(t.files())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	set, err := t.catalog.FindSet(payloadSet)
	if err != nil {
		return fmt.Errorf("%s: %w", catalog.ShimsFile, err)
	}
	var problems []error
	for _, arch := range catalog.Arches() {
		if len(set.Components[arch]) > 0 {
			problems = append(problems, shims.Check(arch, set.Components[arch]))
		}
	}
	return errors.Join(problems...)
}
