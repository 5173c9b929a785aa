package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
)

func kernelConfigCmd(process Process, tree *treeOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel-config",
		Short: "Show, compare and check the configurations of guest kernels",
		Example: `  pipelines kernel-config list
  pipelines kernel-config show kernel-debug --arch arm64
  pipelines kernel-config diff kernel kernel-debug`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown command %q (see `pipelines kernel-config --help`)", args[0]))
			}
			return usage(errors.New("missing subcommand: list, show, diff or check"))
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(
		kernelConfigListCmd(process, tree),
		kernelConfigShowCmd(process, tree),
		kernelConfigDiffCmd(process, tree),
		kernelConfigCheckCmd(process, tree),
	)
	return cmd
}

// kernelOf is the configuration of a guest kernel on one architecture.
type kernelOf struct {
	asset catalog.Asset
	arch  catalog.Arch
	plan  *kconfig.Plan
}

// kernelPlan finds a guest kernel of the tree and makes its plan.
func (t *tree) kernelPlan(name, arch string) (kernelOf, error) {
	asset, chosen, err := findKernel(t.catalog, name, arch)
	if err != nil {
		return kernelOf{}, err
	}
	plan, err := t.resolver.KernelPlan(asset, chosen)
	if err != nil {
		return kernelOf{}, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
	}
	return kernelOf{asset, chosen, plan}, nil
}

// findKernel finds a guest kernel among the assets. The architecture is this
// machine's by default, or the only one that the kernel has.
func findKernel(assets *catalog.Catalog, name, arch string) (catalog.Asset, catalog.Arch, error) {
	chosen := catalog.HostArch()
	if arch != "" {
		var err error
		if chosen, err = catalog.ParseArch(arch); err != nil {
			return catalog.Asset{}, "", usage(err)
		}
	} else if i := slices.IndexFunc(assets.Assets, func(a catalog.Asset) bool { return a.Name == name }); i >= 0 && len(assets.Assets[i].Arches) == 1 {
		chosen = assets.Assets[i].Arches[0]
	}
	asset, err := assets.Find(name, chosen)
	if err != nil {
		return catalog.Asset{}, "", usage(err)
	}
	if asset.Kernel == nil {
		var kernels []string
		for _, a := range assets.Assets {
			if a.Kernel != nil {
				kernels = append(kernels, a.Name)
			}
		}
		return catalog.Asset{}, "", usage(fmt.Errorf("%s is not a guest kernel: choose one of %s", name, strings.Join(kernels, ", ")))
	}
	return asset, chosen, nil
}

// listedKernel is a guest kernel on one architecture.
type listedKernel struct {
	Variant string       `json:"variant"`
	Arch    catalog.Arch `json:"arch"`
	// KernelArch is the architecture as ARCH in a Linux build.
	KernelArch string   `json:"kernelArch"`
	Version    string   `json:"version"`
	Folders    []string `json:"folders"`
	Options    int      `json:"options"`
}

func kernelConfigListCmd(process Process, tree *treeOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List guest kernels by architecture, with their fragment folders",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			tree, err := tree.load(process.Stderr)
			if err != nil {
				return err
			}
			kernels, err := tree.kernels()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(process.Stdout, kernels)
			}
			table := tabwriter.NewWriter(process.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "KERNEL\tARCH\tLINUX\tOPTIONS\tFOLDERS")
			for _, k := range kernels {
				fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", k.Variant, k.Arch, k.Version, k.Options, strings.Join(k.Folders, " "))
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return cmd
}

// kernels returns all guest kernels of the tree.
func (t *tree) kernels() ([]listedKernel, error) {
	kernels := []listedKernel{}
	for _, asset := range t.catalog.Assets {
		if asset.Kernel == nil {
			continue
		}
		for _, arch := range asset.Arches {
			k, err := t.kernelPlan(asset.Name, string(arch))
			if err != nil {
				return nil, err
			}
			kernels = append(kernels, listedKernel{asset.Name, arch, k.plan.Arch, k.plan.Version, asset.Kernel.Folders(arch), len(k.plan.Requested.Options)})
		}
	}
	return kernels, nil
}

func kernelArchFlag(cmd *cobra.Command, arch *string) {
	cmd.Flags().StringVar(arch, "arch", "", "architecture, such as x86_64 or arm64 (default: this machine's, or the kernel's only one)")
}
