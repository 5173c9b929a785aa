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

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type mergeOptions struct {
	setOptions
	output  string
	reports []string
	dryRun  bool
	json    bool
}

func mergeCmd(a *app) *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge [SET]",
		Short: "Merge the assets of a release set into one tarball",
		Long: `Merge the assets of a release set of assets/sets.yaml (default: kata-static) into
one tarball, and add VERSION and versions.yaml below opt/kata. The assets come from
the caches, by the keys of the tree, or from a folder (--from). Their zstd frames are
copied as they are. All problems are found before anything is written: a missing
component, a tarball in the folder that belongs to no release, a path that two
components ship, a path of the host's own, a link to nothing, and a result that is
too large for GitHub. A tarball that this machine has not seen before is decompressed
once, to compare every byte with its index. A tarball without an index is compressed
again into the cache, also by --dry-run. Prints the path of the merged tarball,
kata-static.tar.zst or kata-tools-static.tar.zst. If the file has the right content
already, it is left alone.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runMerge(cmd.Context(), a, o, args) },
	}
	flags := cmd.Flags()
	o.flags(flags, a)
	flags.StringVarP(&o.output, "output", "o", "", "folder for the merged tarball (default: build in the root of the repository)")
	flags.StringArrayVar(&o.reports, "report", nil, "write a report to this file, as its name says: .json, .md or .html; can be repeated")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the plan, and write nothing but what the cache keeps for the next time")
	flags.BoolVar(&o.json, "json", false, "print the result, or the plan, as JSON")
	return cmd
}

func runMerge(ctx context.Context, a *app, o mergeOptions, args []string) error {
	if err := checkReports(o.reports); err != nil {
		return err
	}
	return o.prepare(ctx, a, setName(args), func(m merging) error {
		if err := errors.Join(o.check(a, m), writeReports(m.plan.Report, o.reports)); err != nil {
			return err
		}
		if o.dryRun {
			return o.printPlan(a, m)
		}
		return o.write(ctx, a, m)
	})
}

func setName(args []string) string {
	if len(args) == 0 {
		return defaultSet
	}
	return args[0]
}

func (o *mergeOptions) out(m merging) string {
	dir := o.output
	if dir == "" {
		dir = filepath.Join(m.ws.Root, "build")
	}
	return filepath.Join(dir, release.MergedFile(m.plan.Report.Set))
}

func (o *mergeOptions) write(ctx context.Context, a *app, m merging) (err error) {
	out := o.out(m)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("making the output folder: %w", err)
	}
	stage := m.ws.Report.Stage(m.plan.Report.Set, "merge")
	tarball, err := m.plan.Write(ctx, out, stage)
	if err != nil {
		stage.End(err, "")
		return err
	}
	detail := fmt.Sprintf("%s, %s of the limit", progress.Size(tarball.Size), m.plan.Report.LimitShare())
	if !tarball.Changed {
		detail += ", already in place"
	}
	stage.End(nil, detail)
	if o.json {
		return printJSON(a.Stdout, tarball)
	}
	_, err = fmt.Fprintln(a.Stdout, workspace.Relative(tarball.Path))
	return err
}

// printPlan says what a merge would do.
func (o *mergeOptions) printPlan(a *app, m merging) error {
	if o.json {
		return printJSON(a.Stdout, m.plan.Report)
	}
	var text strings.Builder
	if err := printSizes(&text, m.plan.Report); err != nil {
		return err
	}
	for _, part := range m.plan.Merged.Parts {
		if part.Reframed {
			fmt.Fprintf(&text, "%s has no index: its copy with one is %s\n", part.Name, workspace.Relative(part.Path))
		}
	}
	fmt.Fprintf(&text, "would write %s, of %d bytes\n", workspace.Relative(o.out(m)), m.plan.Report.Size)
	_, err := io.WriteString(a.Stdout, text.String())
	return err
}

// printSizes writes a report for a person at a terminal.
func printSizes(w io.Writer, r sizes.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := "SIZE\tOF ALL\tUNPACKED\tBUDGET\t"
	if r.Change != nil {
		columns += "CHANGE\t"
	}
	fmt.Fprintln(table, columns+"  COMPONENT")
	line := func(size, unpacked, budget int64, growth, name string) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t", progress.Size(size), r.Share(size), sizeOrDash(unpacked), sizeOrDash(budget))
		if r.Change != nil {
			fmt.Fprintf(table, "%s\t", growth)
		}
		fmt.Fprintf(table, "  %s\n", name)
	}
	for _, c := range r.Components {
		line(c.Size, c.Unpacked, c.Budget, r.Growth(c.Name), c.Name)
	}
	line(r.Own, 0, 0, "", "(VERSION, versions.yaml, directories, index)")
	line(r.Size, r.Unpacked, 0, r.Growth(""), fmt.Sprintf("%s, %s of the limit", r.Set, r.LimitShare()))
	return table.Flush()
}

func sizeOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return progress.Size(n)
}
