package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

type reportOptions struct {
	setOptions
	outputs []string
	json    bool
}

func reportCmd(a *app) *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report [SET]",
		Short: "Say what takes up the bytes of a release, and what grew",
		Long: `Say what the tarball of a release set would be made of, by component and file, from
the indexes of the components alone; kata-static if no set is named. With --previous
also what changed since a release. Prints a table; -o size.html writes a page with a
treemap, which needs nothing but a browser, -o size.md Markdown for a pull request,
-o size.json what --previous reads. A tarball over the limit is an error, after the
reports are written.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runReport(cmd.Context(), a, o, args) },
	}
	flags := cmd.Flags()
	o.flags(flags, a)
	flags.BoolVar(&o.partial, "partial", false, "report what is there where components are missing, and say which")
	flags.StringArrayVarP(&o.outputs, "output", "o", nil, "write the report to this file, as its name says: .json, .md or .html; can be repeated")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func runReport(ctx context.Context, a *app, o reportOptions, args []string) error {
	if err := checkReports(o.outputs); err != nil {
		return err
	}
	return o.prepare(ctx, a, setName(args), func(m merging) error {
		r := m.plan.Report
		err := writeReports(r, o.outputs)
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
		return errors.Join(err, a.summarize(r.Markdown()+"\n"), o.check(a, m))
	})
}

// checkReports refuses files that nobody knows how to write, before any work.
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
		if err := writeReport(r, path); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}

func writeReport(r sizes.Report, path string) (err error) {
	var text []byte
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
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
