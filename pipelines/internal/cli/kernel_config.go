package cli

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func kernelConfigCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel-config",
		Short: "Show, compare and check the configurations of guest kernels",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usage(fmt.Errorf("unknown command %q (see `pipelines kernel-config --help`)", args[0]))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		kernelConfigListCmd(a),
		kernelConfigShowCmd(a),
		kernelConfigDiffCmd(a),
		kernelConfigCheckCmd(a),
	)
	return cmd
}

// kernelOf is a guest kernel on one architecture and what its fragments request.
type kernelOf struct {
	asset catalog.Asset
	arch  catalog.Arch
	set   *kconfig.Set
}

// kernel finds a guest kernel among the assets. Without an architecture it is
// this machine's, or the only one that the kernel has.
func kernel(assets *catalog.Catalog, files fs.FS, name, arch string) (kernelOf, error) {
	chosen := catalog.HostArch()
	if arch != "" {
		var err error
		if chosen, err = catalog.ParseArch(arch); err != nil {
			return kernelOf{}, usage(err)
		}
	} else if i := slices.IndexFunc(assets.Assets, func(a catalog.Asset) bool { return a.Name == name }); i >= 0 && len(assets.Assets[i].Arches) == 1 {
		chosen = assets.Assets[i].Arches[0]
	}
	asset, err := assets.Find(name, chosen)
	if err != nil {
		return kernelOf{}, usage(err)
	}
	if asset.Kernel == nil {
		var kernels []string
		for _, a := range assets.Assets {
			if a.Kernel != nil {
				kernels = append(kernels, a.Name)
			}
		}
		return kernelOf{}, usage(fmt.Errorf("%s is no guest kernel: there are %s", name, strings.Join(kernels, ", ")))
	}
	set, err := kconfig.Load(files, asset.Kernel.Folders(chosen), chosen.Kernel())
	if err != nil {
		return kernelOf{}, err
	}
	return kernelOf{asset, chosen, set}, nil
}

// exceptions returns the exceptions of the tree and the version of Linux that a
// kernel is of.
func exceptions(ws *workspace.Workspace, k kernelOf) (list []kconfig.Exception, version string, err error) {
	if list, err = kconfig.LoadExceptions(ws.Resolver.Tree); err != nil {
		return nil, "", err
	}
	version, err = ws.Resolver.Versions.Pin(k.asset.Pins[k.asset.Kernel.Version])
	return list, version, err
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
		Short: "List the kernels by architecture, with their folders of fragments",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ws, err := a.open(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer ws.Close()
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
		},
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
			k, err := kernel(ws.Catalog, ws.Files(), asset.Name, string(arch))
			if err != nil {
				return nil, err
			}
			version, err := ws.Resolver.Versions.Pin(asset.Pins[asset.Kernel.Version])
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
			}
			kernels = append(kernels, listedKernel{asset.Name, arch, arch.Kernel(), version, asset.Kernel.Folders(arch), len(k.set.Options)})
		}
	}
	return kernels, nil
}

func kernelArchFlag(cmd *cobra.Command, arch *string) {
	cmd.Flags().StringVar(arch, "arch", "", "architecture, such as x86_64 or arm64 (default: this machine's, or the kernel's only one)")
}
