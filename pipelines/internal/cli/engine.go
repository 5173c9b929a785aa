package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// engineOptions say which engine to use.
type engineOptions struct {
	engine    string
	noInstall bool
}

func (o *engineOptions) flags(flags *pflag.FlagSet) {
	flags.StringVar(&o.engine, "engine", "", "Dagger engine to use, such as tcp://HOST:PORT (default: Dagger's own variables, Docker, Podman, nerdctl, or the embedded one)")
	flags.BoolVar(&o.noInstall, "no-install", false, "print what to install for the embedded engine instead of installing it")
}

func (o *engineOptions) finder(a *app, folders workspace.Folders, log io.Writer) engine.Finder {
	return engine.Finder{
		Named: o.engine, Getenv: a.Getenv, Root: isRoot(), Install: !o.noInstall,
		Manager: manager(folders, log), Log: log, Note: noteTo(log),
	}
}

func manager(folders workspace.Folders, log io.Writer) *embedded.Manager {
	return &embedded.Manager{CacheDir: folders.Cache, ModuleDir: filepath.Join(folders.Root, "pipelines", "dagger-engine"), Log: log, Note: noteTo(log)}
}

// noteTo writes notes as lines.
func noteTo(w io.Writer) func(string) {
	return func(text string) { fmt.Fprintln(w, text) }
}

func engineCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "engine",
		Short: "Start, stop and look at the embedded Dagger engine",
	}, engineStartCmd(a), engineStatusCmd(a), engineStopCmd(a), superviseCmd())
}

func engineStartCmd(a *app) *cobra.Command {
	var o engineOptions
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the embedded engine, installing and building what it needs",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withEngine(a, func(folders workspace.Folders) error {
				finder := o.finder(a, folders, a.Stderr)
				endpoint, err := finder.Embedded(cmd.Context())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.Stdout, endpoint.Address)
				return errors.Join(err, endpoint.Release())
			})
		},
	}
	cmd.Flags().BoolVar(&o.noInstall, "no-install", false, "print what to install instead of installing it")
	return cmd
}

func engineStatusCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the embedded engine runs",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return withEngine(a, func(folders workspace.Folders) error {
				status, err := manager(folders, a.Stderr).Status()
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Stdout, status)
				}
				line := []string{status.State, "Dagger " + status.Version}
				if status.PID != 0 {
					line = append(line, status.Address, fmt.Sprintf("process %d", status.PID))
				}
				_, err = fmt.Fprintln(a.Stdout, strings.Join(line, ", "))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	return cmd
}

func engineStopCmd(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the embedded engine; its build cache stays",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withEngine(a, func(folders workspace.Folders) error {
				return manager(folders, a.Stderr).Stop(cmd.Context(), force)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "stop it even while builds use it, which then fail")
	return cmd
}

// withEngine finds the folders that the embedded engine lives in.
func withEngine(a *app, run func(workspace.Folders) error) error {
	if !isRoot() {
		return errors.New("the embedded engine belongs to root: run this as root")
	}
	folders, err := a.find()
	if err != nil {
		return err
	}
	return run(folders)
}

// superviseCmd is how the program starts itself as the engine's supervisor.
func superviseCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Hidden: true,
		Args:   arguments(cobra.NoArgs),
		RunE:   func(cmd *cobra.Command, _ []string) error { return embedded.Supervise(cmd.Context()) },
	}
}
