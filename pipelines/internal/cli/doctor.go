package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
)

// diagnosis is what doctor finds.
type diagnosis struct {
	// Engine is the one that a build would use, nil where none can be.
	Engine  *engine.Endpoint `json:"engine"`
	Problem string           `json:"problem,omitempty"`
	// SDK and Embedded are versions of Dagger.
	SDK      string          `json:"sdk"`
	Embedded embedded.Status `json:"embedded"`
	// Requirements are those of the embedded engine.
	Requirements []requirement `json:"requirements"`
	// Install is the command that installs what is missing.
	Install string `json:"install,omitempty"`
	Cache   string `json:"cache"`
}

type requirement struct {
	host.Requirement
	Present bool `json:"present"`
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
			d, err := diagnose(cmd.Context(), a, o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Stdout, d)
			}
			return d.print(a.Stdout)
		},
	}
	cmd.Flags().StringVar(&o.engine, "engine", "", "Dagger engine to use instead of looking for one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

func diagnose(ctx context.Context, a *app, o engineOptions) (diagnosis, error) {
	folders, err := a.find()
	if err != nil {
		return diagnosis{}, err
	}
	finder := o.finder(a, folders, nil)
	d := diagnosis{SDK: engine.SDKVersion(), Cache: folders.Cache}
	if endpoint, err := finder.Choose(ctx); err != nil {
		d.Problem = err.Error()
	} else {
		d.Engine = &endpoint
	}
	if d.Embedded, err = finder.Manager.Status(); err != nil {
		return d, err
	}
	for _, r := range host.Requirements() {
		d.Requirements = append(d.Requirements, requirement{r, r.Present()})
	}
	if missing := host.Missing(); len(missing) > 0 {
		d.Install = host.InstallCommand(missing)
	}
	return d, nil
}

func (d diagnosis) print(w io.Writer) error {
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
