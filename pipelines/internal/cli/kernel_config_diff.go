package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func kernelConfigDiffCmd(a *app) *cobra.Command {
	var arch string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare kernels, architectures, revisions and .config files",
		Long: `Print the options that differ between A and B, with the places that request them.
A and B are each one of

  kernel-debug            the requested options of a kernel
  kernel@s390x            the same on an architecture
  v1.0:kernel@s390x       the same in a git revision, as in git show v1.0:FILE
  ./.config               a .config file: any argument with a dot or a slash that
                          is none of the above

A .config has a value for every option. Compared with one, only requested options
count, and an absent option is not set.`,
		Example: `  pipelines kernel-config diff kernel kernel-debug
  pipelines kernel-config diff kernel@x86_64 kernel@arm64
  pipelines kernel-config diff HEAD~1:kernel kernel
  pipelines kernel-config diff kernel-debug /boot/config-6.18.15`,
		Args: cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runKernelConfigDiff(ctx, a, ws, args, arch)
		}),
	}
	kernelArchFlag(cmd, &arch)
	return a.printing(cmd)
}

func runKernelConfigDiff(ctx context.Context, a *app, ws *workspace.Workspace, args []string, arch string) error {
	var sides [2]kconfig.Side
	for i, arg := range args {
		one, err := side(ctx, ws, arg, arch)
		if err != nil {
			return err
		}
		sides[i] = one
	}
	differences := kconfig.Compare(sides[0], sides[1])
	text := fmt.Sprintf("no differences between %s and %s\n", args[0], args[1])
	if len(differences) > 0 {
		text = table(differences, "OPTION\t"+args[0]+"\t"+args[1]+"\tWHERE", differenceRow)
	}
	return a.print(differences, text)
}

func differenceRow(d kconfig.Difference) string {
	values, places := []string{"-", "-"}, []string{}
	for i, o := range []*kconfig.Option{d.A, d.B} {
		if o != nil {
			values[i], places = o.Value, append(places, o.Pos())
		}
	}
	return d.Name + "\t" + strings.Join(values, "\t") + "\t" + strings.Join(places, " ")
}

// aKernel is VARIANT or VARIANT@ARCH, optionally after a revision and a colon.
var aKernel = regexp.MustCompile(`^(?:(.+):)?([a-z0-9]+(?:-[a-z0-9]+)*)(?:@([a-z0-9_]+))?$`)

func side(ctx context.Context, ws *workspace.Workspace, arg, arch string) (kconfig.Side, error) {
	match := aKernel.FindStringSubmatch(arg)
	if match == nil {
		data, err := files.ReadNamed(arg, maxConfig)
		if err != nil {
			return kconfig.Side{}, err
		}
		options, err := kconfig.ParseConfig(arg, data)
		return kconfig.Side{Options: options, Final: true}, err
	}
	revision, name := match[1], match[2]
	if match[3] != "" {
		arch = match[3]
	}
	assets, tree := ws.Catalog, ws.Files()
	if revision != "" {
		var err error
		if tree, err = ws.Revision(ctx, revision); err != nil {
			return kconfig.Side{}, err
		}
		if assets, err = catalog.Load(tree); err != nil {
			return kconfig.Side{}, fmt.Errorf("reading the assets of %s: %w", revision, err)
		}
	}
	asset, chosen, err := assets.FindKernel(name, arch)
	if err != nil {
		return kconfig.Side{}, usage(err)
	}
	set, err := kconfig.Load(tree, asset.Kernel.Folders(chosen), chosen.Kernel())
	if err != nil {
		return kconfig.Side{}, err
	}
	if revision != "" {
		for i := range set.Options {
			set.Options[i].Path = revision + ":" + set.Options[i].Path
		}
	}
	return kconfig.Side{Options: set.Options}, nil
}
