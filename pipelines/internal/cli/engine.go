package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

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
	return a.printing(&cobra.Command{
		Use:   "status",
		Short: "Print whether the embedded engine runs",
		Example: `  pipelines engine status
  pipelines engine status --json`,
		RunE: o.embedded(a, func(_ context.Context, finder engine.Finder) error {
			status, err := finder.Manager.Status()
			if err != nil {
				return err
			}
			text := fmt.Sprintf("%s, Dagger %s", status.State, status.Version)
			if status.PID != 0 {
				text += fmt.Sprintf(", %s, process %d", status.Address, status.PID)
			}
			return a.print(status, text+"\n")
		}),
	})
}

func engineStopCmd(a *app) *cobra.Command {
	var o engineOptions
	var force bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the embedded engine; its build cache stays",
		Example: `  pipelines engine stop
  pipelines engine stop --force`,
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

// superviseCmd runs the supervisor of the engine: the program starts itself with it.
func superviseCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Hidden: true,
		RunE:   func(cmd *cobra.Command, _ []string) error { return embedded.Supervise(cmd.Context()) },
	}
}

func doctorCmd(a *app) *cobra.Command {
	var o engineOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Print which engine would be used, and what is missing",
		Example: `  pipelines doctor
  pipelines doctor --engine tcp://builder.example:1234 --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			folders, err := a.find()
			if err != nil {
				return err
			}
			d, err := o.finder(a, folders, nil).Diagnose(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(d, diagnosis(d))
		},
	}
	cmd.Flags().StringVar(&o.engine, "engine", "", "Dagger engine to use instead of looking for one")
	return a.printing(cmd)
}

func diagnosis(d engine.Diagnosis) string {
	chosen, mismatch := "none", ""
	if d.Engine != nil {
		chosen = d.Engine.String()
	}
	if d.SDK != d.Embedded.Version {
		mismatch = " (NOT the version of the SDK)"
	}
	rows := []string{
		"engine\t" + chosen,
		"dagger SDK\t" + d.SDK,
		fmt.Sprintf("embedded engine\t%s, %s%s", d.Embedded.Version, d.Embedded.State, mismatch),
	}
	for _, r := range d.Requirements {
		state := "found"
		if !r.Present {
			state = "MISSING, package " + r.Package
		}
		rows = append(rows, fmt.Sprintf("  %s\t%s (%s)", r.Name, state, r.Why))
	}
	text := table(append(rows, "caches\t"+d.Cache), "", func(row string) string { return row })
	if d.Install != "" {
		text += "\nThe embedded engine needs packages that are not installed. A build as root installs them; by hand:\n  " + d.Install + "\n"
	}
	if d.Problem != "" {
		text += "\n" + d.Problem + "\n"
	}
	return text
}
