package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func kernelConfigCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "kernel-config",
		Short: "Show, compare and check the configurations of guest kernels",
		Example: `  pipelines kernel-config list
  pipelines kernel-config show kernel-debug --arch arm64
  pipelines kernel-config diff kernel kernel-debug`,
	}, kernelConfigListCmd(a), kernelConfigShowCmd(a), kernelConfigDiffCmd(a), kernelConfigCheckCmd(a), kernelConfigCompareCmd(a))
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
	return a.printing(&cobra.Command{
		Use:   "list",
		Short: "List guest kernels by architecture, with their fragment folders",
		Example: `  pipelines kernel-config list
  pipelines kernel-config list --json`,
		RunE: a.with(func(_ context.Context, ws *workspace.Workspace, _ []string) error {
			kernels, err := listKernels(ws)
			if err != nil {
				return err
			}
			return printList(a, kernels, "KERNEL\tARCH\tLINUX\tOPTIONS\tFOLDERS", func(k listedKernel) string {
				return fmt.Sprintf("%s\t%s\t%s\t%d\t%s", k.Variant, k.Arch, k.Version, k.Options, strings.Join(k.Folders, " "))
			})
		}),
	})
}

func listKernels(ws *workspace.Workspace) ([]listedKernel, error) {
	var kernels []listedKernel
	for _, asset := range ws.Catalog.Assets {
		if asset.Kernel == nil {
			continue
		}
		for _, arch := range asset.Arches {
			k, err := kernel(ws, asset.Name, string(arch))
			if errors.As(err, new(*versions.Unlocked)) {
				ws.Report.Note(asset.Name, err.Error())
				continue
			}
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

func kernelConfigShowCmd(a *app) *cobra.Command {
	var arch string
	var config bool
	cmd := &cobra.Command{
		Use:   "show VARIANT",
		Short: "Print the requested options of a kernel and where they come from",
		Example: `  pipelines kernel-config show kernel-debug
  pipelines kernel-config show kernel --arch s390x --config > requested.config`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(_ context.Context, ws *workspace.Workspace, args []string) error {
			return runKernelConfigShow(a, ws, args[0], arch, config)
		}),
	}
	kernelArchFlag(cmd, &arch)
	cmd.Flags().BoolVar(&config, "config", false, "print only the lines, as a file for KCONFIG_ALLCONFIG")
	return a.printing(cmd)
}

// shownKernel is what `kernel-config show --json` prints.
type shownKernel struct {
	Variant string        `json:"variant"`
	Arch    catalog.Arch  `json:"arch"`
	Version string        `json:"version"`
	Folders []string      `json:"folders"`
	Options []shownOption `json:"options"`
}

type shownOption struct {
	kconfig.Option
	// Tolerated is the reason of the exception that lets the kernel lack the option.
	Tolerated string `json:"tolerated,omitempty"`
}

func runKernelConfigShow(a *app, ws *workspace.Workspace, name, arch string, config bool) error {
	k, err := kernel(ws, name, arch)
	if err != nil {
		return err
	}
	if config {
		_, err = a.Stdout.Write(k.plan.Requested.Merged())
		return err
	}
	shown := shownKernel{Variant: name, Arch: k.arch, Version: k.plan.Version, Folders: k.asset.Kernel.Folders(k.arch), Options: []shownOption{}}
	for _, option := range k.plan.Requested.Options {
		one := shownOption{Option: option}
		for _, e := range k.plan.Exceptions[option.Name] {
			one.Tolerated = e.Reason
		}
		shown.Options = append(shown.Options, one)
	}
	options := table(shown.Options, "", func(o shownOption) string {
		note := ""
		if o.Tolerated != "" {
			note = "\tmay be missing: " + o.Tolerated
		}
		return kconfig.Statement(o.Name, o.Value) + "\t" + o.Pos() + note
	})
	return a.print(shown, fmt.Sprintf("%s\n%s on %s, Linux %s: %d options from %s\n",
		options, name, k.arch, shown.Version, len(shown.Options), strings.Join(shown.Folders, ", ")))
}

// maxConfig is far more than any .config.
const maxConfig = 16 << 20

func kernelConfigCheckCmd(a *app) *cobra.Command {
	var arch string
	cmd := &cobra.Command{
		Use:   "check VARIANT FILE",
		Short: "Check the final .config of a kernel",
		Long: `Check a final .config as a build does before it compiles: it has every requested
option by name and value, except those in kernel-configs/exceptions.yaml, and no
option of kernel-configs/debug unless the kernel requests it. The error explains each
missing option if the facts that the step configure writes, FILE.facts, are next to it.`,
		Example: `  pipelines kernel-config check kernel-debug .config
  pipelines kernel-config check kernel /boot/config-6.18.15 --arch arm64`,
		Args: cobra.ExactArgs(2),
		RunE: a.with(func(_ context.Context, ws *workspace.Workspace, args []string) error {
			k, err := kernel(ws, args[0], arch)
			if err != nil {
				return err
			}
			return k.check(a.Stdout, args[1])
		}),
	}
	kernelArchFlag(cmd, &arch)
	return cmd
}

// check checks a final .config, with the facts next to it if there are some.
func (k kernelOf) check(w io.Writer, file string) error {
	final, err := files.ReadNamed(file, maxConfig)
	if err != nil {
		return err
	}
	data, err := files.ReadNamed(file+kconfig.FactsSuffix, maxConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	facts, err := kconfig.ParseFacts(data)
	if err != nil {
		return fmt.Errorf("%s%s: %w", file, kconfig.FactsSuffix, err)
	}
	if err := k.plan.Check(final, facts); err != nil {
		return err
	}
	tolerated := len(k.plan.Tolerated())
	_, err = fmt.Fprintf(w, "%s on %s: %d options as requested, %d may be missing: ok\n",
		k.asset.Name, k.arch, len(k.plan.Requested.Options)-tolerated, tolerated)
	return err
}
