package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func kernelConfigCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "kernel-config",
		Short: "Show, compare and check the configurations of guest kernels",
		Example: `  pipelines kernel-config list
  pipelines kernel-config show kernel-debug --arch arm64
  pipelines kernel-config diff kernel kernel-debug`,
	}, kernelConfigListCmd(a), kernelConfigShowCmd(a), kernelConfigDiffCmd(a), kernelConfigCheckCmd(a))
}

// kernelOf is the configuration of a guest kernel on one architecture.
type kernelOf struct {
	asset catalog.Asset
	arch  catalog.Arch
	plan  *kconfig.Plan
}

// kernel finds a guest kernel and makes its plan.
func kernel(ws *workspace.Workspace, name, arch string) (kernelOf, error) {
	asset, chosen, err := ws.Catalog.FindKernel(name, arch)
	if err != nil {
		return kernelOf{}, usage(err)
	}
	plan, err := ws.Resolver.KernelPlan(asset, chosen)
	return kernelOf{asset, chosen, plan}, err
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

func kernelConfigListCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List guest kernels by architecture, with their fragment folders",
		Example: `  pipelines kernel-config list
  pipelines kernel-config list --json`,
		Args: arguments(cobra.NoArgs),
		RunE: a.with(nil, func(_ context.Context, ws *workspace.Workspace, _ []string) error {
			kernels, err := listKernels(ws)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Stdout, kernels)
			}
			table := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "KERNEL\tARCH\tLINUX\tOPTIONS\tFOLDERS")
			for _, k := range kernels {
				fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", k.Variant, k.Arch, k.Version, k.Options, strings.Join(k.Folders, " "))
			}
			return table.Flush()
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return cmd
}

// listKernels returns all guest kernels of the tree.
func listKernels(ws *workspace.Workspace) ([]listedKernel, error) {
	kernels := []listedKernel{}
	for _, asset := range ws.Catalog.Assets {
		if asset.Kernel == nil {
			continue
		}
		for _, arch := range asset.Arches {
			k, err := kernel(ws, asset.Name, string(arch))
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
