package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

type reportOptions struct {
	set     setOptions
	outputs []string
	json    bool
}

func reportCmd(a *app) *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report [SET]",
		Short: "Show what takes up the bytes of a release, and what grew",
		Long: `Show what the tarball of a release set would be made of (default: kata-static), by
component and file. Only the indexes of the components are read. With --previous it
also shows what changed since a release. A tarball over the limit is an error, after
the reports are written.

The name of an output file decides its kind: .html is one page with a treemap that
needs nothing but a browser, .md is Markdown for a pull request, and .json is what
--previous reads.`,
		Example: `  # A table of the components.
  pipelines report --arch x86_64
  # A page that compares with the tarball of the last release.
  pipelines report --previous kata-static-3.28.0-amd64.tar.zst -o size.html
  # What there is of the tarballs in a folder.
  pipelines report --from build --partial -o size.md`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runReport(cmd.Context(), a, o, args) },
	}
	flags := cmd.Flags()
	o.set.flags(flags, a)
	flags.BoolVar(&o.set.Partial, "partial", false, "report on the components that are there, and list the missing ones")
	flags.StringArrayVarP(&o.outputs, "output", "o", nil, "write the report to this .json, .md or .html file; can be repeated")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func runReport(ctx context.Context, a *app, o reportOptions, args []string) error {
	if err := checkReports(o.outputs); err != nil {
		return err
	}
	if err := o.set.parse(args); err != nil {
		return err
	}
	ws, err := a.open(ctx, o.set.registry)
	if err != nil {
		return err
	}
	defer ws.Close()
	plan, err := o.set.Plan(ctx, ws)
	if err != nil {
		return err
	}
	r := plan.Report
	err = writeReports(r, o.outputs)
	switch {
	case o.json:
		err = errors.Join(err, printJSON(a.Stdout, r))
	case len(o.outputs) == 0:
		err = errors.Join(err, printSizes(a.Stdout, r))
	default:
		for _, path := range o.outputs {
			fmt.Fprintln(a.Stdout, path)
		}
	}
	return errors.Join(err, a.summarize(r.Markdown()+"\n"), o.set.check(a, r))
}

// checkReports refuses file names of unknown kinds, before any work.
func checkReports(paths []string) error {
	for _, path := range paths {
		switch filepath.Ext(path) {
		case ".json", ".md", ".html":
		default:
			return usage(fmt.Errorf("report %s: want a name that ends with .json, .md or .html", path))
		}
	}
	return nil
}

// writeReports writes a report to files, each of the kind that its name says.
func writeReports(r sizes.Report, paths []string) error {
	for _, path := range paths {
		var text []byte
		var err error
		switch filepath.Ext(path) {
		case ".json":
			var out strings.Builder
			err = printJSON(&out, r)
			text = []byte(out.String())
		case ".md":
			text = []byte(r.Markdown())
		default:
			text, err = r.HTML()
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = files.Write(path, text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}
