package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
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

func (o *engineOptions) finder(a *app, folders workspace.Folders, report *progress.Reporter) engine.Finder {
	finder := engine.NewFinder(a.Getenv)
	finder.Named, finder.Root, finder.Install = o.engine, isRoot(), !o.noInstall
	finder.Manager = embedded.Manager{CacheDir: folders.Cache, ModuleDir: filepath.Join(folders.Root, "pipelines", "dagger-engine"), Report: report}
	return finder
}

// isRoot reports whether the program runs as root.
func isRoot() bool { return os.Geteuid() == 0 }

func engineCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "engine",
		Short: "Start, stop and inspect the embedded Dagger engine",
		Example: `  pipelines engine start
  pipelines engine status --json
  pipelines engine stop`,
	}, engineStartCmd(a), engineStatusCmd(a), engineStopCmd(a), superviseCmd())
}

func engineStartCmd(a *app) *cobra.Command {
	var o engineOptions
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the embedded engine, installing and building what it needs",
		Example: `  pipelines engine start
  pipelines engine start --no-install`,
		Args: arguments(cobra.NoArgs),
		RunE: o.embedded(a, func(ctx context.Context, finder engine.Finder) error {
			endpoint, err := finder.Embedded(ctx)
			if err != nil {
				return err
			}
			defer endpoint.Release()
			_, err = fmt.Fprintln(a.Stdout, endpoint.Address)
			return err
		}),
	}
	cmd.Flags().BoolVar(&o.noInstall, "no-install", false, "print what to install instead of installing it")
	return cmd
}

func engineStatusCmd(a *app) *cobra.Command {
	var o engineOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print whether the embedded engine runs",
		Example: `  pipelines engine status
  pipelines engine status --json`,
		Args: arguments(cobra.NoArgs),
		RunE: o.embedded(a, func(_ context.Context, finder engine.Finder) error {
			status, err := finder.Manager.Status()
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
		}),
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func engineStopCmd(a *app) *cobra.Command {
	var o engineOptions
	var force bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the embedded engine; its build cache stays",
		Example: `  pipelines engine stop
  pipelines engine stop --force`,
		Args: arguments(cobra.NoArgs),
		RunE: o.embedded(a, func(ctx context.Context, finder engine.Finder) error {
			return finder.Manager.Stop(ctx, force)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "stop it even while builds use it, which then fail")
	return cmd
}

// embedded returns the run of a verb about the embedded engine.
func (o *engineOptions) embedded(a *app, run func(context.Context, engine.Finder) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if !isRoot() {
			return errors.New("the embedded engine needs root: run this as root")
		}
		folders, err := a.find()
		if err != nil {
			return err
		}
		report := a.reporter()
		defer report.Close()
		return run(cmd.Context(), o.finder(a, folders, report))
	}
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

func doctorCmd(a *app) *cobra.Command {
	var o engineOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Print which engine would be used, and what is missing",
		Example: `  pipelines doctor
  pipelines doctor --engine tcp://builder.example:1234 --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			folders, err := a.find()
			if err != nil {
				return err
			}
			d, err := o.finder(a, folders, nil).Diagnose(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Stdout, d)
			}
			return printDiagnosis(a.Stdout, d)
		},
	}
	cmd.Flags().StringVar(&o.engine, "engine", "", "Dagger engine to use instead of looking for one")
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func printDiagnosis(w io.Writer, d engine.Diagnosis) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	chosen, mismatch := "none", ""
	if d.Engine != nil {
		chosen = d.Engine.String()
	}
	if d.SDK != d.Embedded.Version {
		mismatch = " (NOT the version of the SDK)"
	}
	fmt.Fprintf(table, "engine\t%s\ndagger SDK\t%s\nembedded engine\t%s, %s%s\n", chosen, d.SDK, d.Embedded.Version, d.Embedded.State, mismatch)
	for _, r := range d.Requirements {
		state := "found"
		if !r.Present {
			state = "MISSING, package " + r.Package
		}
		fmt.Fprintf(table, "  %s\t%s (%s)\n", r.Name, state, r.Why)
	}
	fmt.Fprintf(table, "caches\t%s\n", d.Cache)
	if err := table.Flush(); err != nil {
		return err
	}
	if d.Install != "" {
		fmt.Fprintf(w, "\nThe embedded engine needs packages that are not installed. A build as root installs them; by hand:\n  %s\n", d.Install)
	}
	if d.Problem != "" {
		fmt.Fprintf(w, "\n%s\n", d.Problem)
	}
	return nil
}
