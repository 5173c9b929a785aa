package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// app is what all verbs share: the process, and the global flags.
type app struct {
	Process
	root, versions, cacheDir string
}

func (a *app) flags(flags *pflag.FlagSet) {
	flags.StringVar(&a.root, "root", "", "root of the repository (default: the current folder or one above it)")
	flags.StringVar(&a.versions, "versions", "", "file of pins to use instead of the repository's versions.yaml")
	flags.StringVar(&a.cacheDir, "cache-dir", a.Getenv("KATA_PIPELINES_CACHE"),
		"folder of the caches (default: $KATA_PIPELINES_CACHE, or kata-pipelines in the user's cache folder)")
}

// find returns the folders of the checkout and of the caches, for verbs that read
// no declarations.
func (a *app) find() (workspace.Folders, error) {
	return workspace.Find(workspace.Options{Root: a.root, CacheDir: a.cacheDir})
}

// open opens the checkout, with a registry behind the local store if one is named.
// The caller closes it. Warnings about a file of pins given by --versions are printed
// here; those about the checkout's own are notes of `source list`.
func (a *app) open(ctx context.Context, registry string) (*workspace.Workspace, error) {
	report := a.reporter()
	ws, err := workspace.Open(ctx, workspace.Options{
		Root: a.root, Versions: a.versions, CacheDir: a.cacheDir, Registry: registry,
		Environment: a.environment(), Report: report,
	})
	if err != nil {
		report.Close()
		return nil, err
	}
	if ws.Foreign {
		warn(a.Stderr, ws.Warnings)
	}
	return ws, nil
}

// with returns the run of a verb that opens the checkout, as open does, and closes it
// after the run. The registry is read when the verb runs; nil is none.
func (a *app) with(registry *string, run func(context.Context, *workspace.Workspace, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		name := ""
		if registry != nil {
			name = *registry
		}
		ws, err := a.open(cmd.Context(), name)
		if err != nil {
			return err
		}
		defer ws.Close()
		return run(cmd.Context(), ws, args)
	}
}

func (a *app) environment() workspace.Environment { return workspace.ReadEnvironment(a.Getenv) }

func warn(w io.Writer, warnings []versions.Warning) {
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}
