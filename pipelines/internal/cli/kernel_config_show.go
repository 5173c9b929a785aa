package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type kernelConfigShowOptions struct {
	arch           string
	config, asJSON bool
}

func kernelConfigShowCmd(a *app) *cobra.Command {
	var o kernelConfigShowOptions
	cmd := &cobra.Command{
		Use:   "show VARIANT",
		Short: "Print the requested options of a kernel and where they come from",
		Example: `  pipelines kernel-config show kernel-debug
  pipelines kernel-config show kernel --arch s390x --config > requested.config`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: a.with(nil, func(_ context.Context, ws *workspace.Workspace, args []string) error {
			return runKernelConfigShow(a.Stdout, o, ws, args[0])
		}),
	}
	kernelArchFlag(cmd, &o.arch)
	cmd.Flags().BoolVar(&o.config, "config", false, "print only the lines, as a file for KCONFIG_ALLCONFIG")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print the kernel and its options as JSON")
	return cmd
}

// shownKernel is what `kernel-config show --json` prints.
type shownKernel struct {
	Variant string        `json:"variant"`
	Arch    catalog.Arch  `json:"arch"`
	Version string        `json:"version"`
	Folders []string      `json:"folders"`
	Options []shownOption `json:"options"`
}

// shownOption is a requested option; the value n means that it must not be set.
type shownOption struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Path  string `json:"path"`
	Line  int    `json:"line"`
	// Tolerated is the reason of the exception that lets the kernel lack the option.
	Tolerated string `json:"tolerated,omitempty"`
}

func runKernelConfigShow(w io.Writer, o kernelConfigShowOptions, ws *workspace.Workspace, name string) error {
	k, err := kernel(ws, name, o.arch)
	if err != nil {
		return err
	}
	if o.config {
		_, err = w.Write(k.plan.Requested.Merged())
		return err
	}
	shown := shownKernel{Variant: name, Arch: k.arch, Version: k.plan.Version, Folders: k.asset.Kernel.Folders(k.arch), Options: []shownOption{}}
	for _, option := range k.plan.Requested.Options {
		one := shownOption{Name: option.Name, Value: option.Value, Path: option.Path, Line: option.Line}
		for _, e := range k.plan.Exceptions[option.Name] {
			one.Tolerated = e.Reason
		}
		shown.Options = append(shown.Options, one)
	}
	if o.asJSON {
		return printJSON(w, shown)
	}
	return printKernel(w, shown)
}

func printKernel(w io.Writer, k shownKernel) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, o := range k.Options {
		note := ""
		if o.Tolerated != "" {
			note = "\tmay be missing: " + o.Tolerated
		}
		fmt.Fprintf(table, "%s\t%s:%d%s\n", kconfig.Statement(o.Name, o.Value), o.Path, o.Line, note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s on %s, Linux %s: %d options from %s\n", k.Variant, k.Arch, k.Version, len(k.Options), strings.Join(k.Folders, ", "))
	return err
}
