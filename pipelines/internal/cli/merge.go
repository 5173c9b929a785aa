package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type mergeOptions struct {
	set     setOptions
	output  string
	reports []string
	dryRun  bool
}

func mergeCmd(a *app) *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge [SET]",
		Short: "Merge the assets of a release set into one tarball",
		Long: `Merge the assets of a release set of assets/sets.yaml (default: kata-static) into
one tarball, and add VERSION and versions.yaml below opt/kata. The assets come from
the caches, by the keys of the tree, or from a folder (--from). Their zstd frames are
copied as they are.

All problems are found before anything is written: a missing component, a tarball in
the folder that belongs to no release, a path that two components ship, a path of the
host's own, a link to nothing, and a result that is too large for GitHub. A tarball
that this machine has not seen before is decompressed once, to compare every byte with
its index. A tarball without an index is compressed again into the cache, even with
--dry-run.

Prints the path of the merged tarball, kata-static.tar.zst or
kata-tools-static.tar.zst. A file with the right content is left alone.`,
		Example: `  # Merge what the caches have for this tree into build/kata-static.tar.zst.
  pipelines merge
  # Merge tarballs that were built before, without one of them.
  pipelines merge --from build --without kernel-debug
  # Show the size and all problems, and write a report.
  pipelines merge --arch arm64 --dry-run --report size.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runMerge(cmd, a, o, args) },
	}
	flags := cmd.Flags()
	o.set.flags(flags, a)
	flags.StringVarP(&o.output, "output", "o", "", "folder for the merged tarball (default: build in the root of the repository)")
	flags.StringArrayVar(&o.reports, "report", nil, "write a report to this .json, .md or .html file; can be repeated")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the plan, and write nothing outside the cache")
	a.jsonFlag(flags)
	return cmd
}

type mergedTarball struct {
	Set  string `json:"set"`
	Arch string `json:"arch"`
	Path string `json:"path"`
	// Size is the length in bytes. Changed is false if the file was there already.
	Size    int64 `json:"size"`
	Changed bool  `json:"changed"`
}

func runMerge(cmd *cobra.Command, a *app, o mergeOptions, args []string) error {
	ws, plan, err := o.set.plan(cmd, a, args, o.reports)
	if err != nil {
		return err
	}
	defer ws.Close()
	r := plan.Report
	if err := errors.Join(o.set.check(a, r), r.Write(o.reports)); err != nil {
		return err
	}
	output := cmp.Or(o.output, filepath.Join(ws.Root, "build"))
	out := filepath.Join(output, release.MergedFile(r.Set))
	if o.dryRun {
		return a.print(r, mergeText(plan, out))
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return fmt.Errorf("creating the output folder: %w", err)
	}
	stage := ws.Report.Stage(r.Set, "merge")
	changed, err := plan.Write(cmd.Context(), out, stage)
	stage.End(err, plan.Detail(changed))
	if err != nil {
		return err
	}
	return a.print(mergedTarball{r.Set, string(r.Arch), out, r.Size, changed}, workspace.Relative(out)+"\n")
}

func mergeText(plan *release.MergePlan, out string) string {
	text := sizesText(plan.Report)
	for _, part := range plan.Merged.Parts {
		if part.Reframed {
			text += fmt.Sprintf("%s has no index: its copy with one is %s\n", part.Name, workspace.Relative(part.Path))
		}
	}
	return text + fmt.Sprintf("would write %s, of %d bytes\n", workspace.Relative(out), plan.Report.Size)
}

func sizesText(r sizes.Report) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
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
	_ = table.Flush() // It writes to memory.
	return text.String()
}

type reportOptions struct {
	set     setOptions
	outputs []string
}

func reportCmd(a *app) *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report [SET]",
		Short: "Show what takes up the bytes of a release, and what grew",
		Long: `Show what the tarball of a release set would be made of (default: kata-static), by
component and file. A component that this machine has not seen before is decompressed
once, to compare it with its index. With --previous it also shows what changed since a
release. A tarball over the limit is an error, after the reports are written.

The name of an output file decides its kind: .html is one page with a treemap that
needs nothing but a browser, .md is Markdown for a pull request, and .json is what
--previous reads.`,
		Example: `  # A table of the components.
  pipelines report --arch x86_64
  # A page that compares with the tarball of the last release.
  pipelines report --previous kata-static-3.28.0-amd64.tar.zst -o size.html
  # Report on the tarballs that a folder has so far.
  pipelines report --from build --partial -o size.md`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runReport(cmd, a, o, args) },
	}
	flags := cmd.Flags()
	o.set.flags(flags, a)
	flags.BoolVar(&o.set.Partial, "partial", false, "report on the components that are there, and list the missing ones")
	flags.StringArrayVarP(&o.outputs, "output", "o", nil, "write the report to this .json, .md or .html file; can be repeated")
	a.jsonFlag(flags)
	return cmd
}

func runReport(cmd *cobra.Command, a *app, o reportOptions, args []string) error {
	ws, plan, err := o.set.plan(cmd, a, args, o.outputs)
	if err != nil {
		return err
	}
	defer ws.Close()
	r := plan.Report
	text := sizesText(r)
	if len(o.outputs) > 0 {
		text = strings.Join(o.outputs, "\n") + "\n"
	}
	err = r.Write(o.outputs)
	if err == nil || a.json {
		err = errors.Join(err, a.print(r, text))
	}
	return errors.Join(err, a.summarize(r.Markdown()+"\n"), o.set.check(a, r))
}

// setOptions are the options of the verbs merge and report: what is merged, and what its
// size is compared with.
type setOptions struct {
	release.Set
	strict bool
}

func (o *setOptions) flags(flags *pflag.FlagSet, a *app) {
	flags.StringVar(&o.Arch, "arch", "", "architecture of the release, such as x86_64 or arm64 (default: this machine's)")
	flags.StringVar(&o.From, "from", "", "folder of the tarballs, kata-static-NAME.tar.zst (default: the caches, by the keys of the tree)")
	flags.StringSliceVar(&o.Without, "without", nil, "assets to leave out of the release set")
	a.cacheFlag(flags)
	flags.StringVar(&o.Previous, "previous", "", "compare with this merged tarball, or with the JSON of a report")
	flags.StringVar(&o.Limit, "limit", "", "size that the tarball must stay below (default: 2 GiB, the limit of GitHub)")
	flags.BoolVar(&o.strict, "strict", false, "fail if a component exceeds its budget")
}

// plan opens the checkout, which the caller closes, and plans the merge of the set
// that the arguments name. No registry is opened for components of a folder. Reports
// are files that will be written.
func (o *setOptions) plan(cmd *cobra.Command, a *app, args, reports []string) (*workspace.Workspace, *release.MergePlan, error) {
	if err := sizes.CheckNames(reports); err != nil {
		return nil, nil, usage(err)
	}
	o.Name = workspace.PayloadSet
	if len(args) > 0 {
		o.Name = args[0]
	}
	if o.From != "" {
		if cmd.Flags().Changed("cache") {
			return nil, nil, usage(errors.New("give --from or --cache, not both: the components come from a folder or from the caches"))
		}
		if err := cmd.Flags().Set("cache", ""); err != nil {
			return nil, nil, err
		}
	}
	ws, err := a.open(cmd.Context(), cmd.Flags())
	if err != nil {
		return nil, nil, err
	}
	plan, err := o.Plan(cmd.Context(), ws)
	if err != nil {
		ws.Close()
	}
	return ws, plan, err
}

// check warns about components that exceed their budgets, and returns what is wrong with
// the size.
func (o *setOptions) check(a *app, r sizes.Report) error {
	if !o.strict {
		for _, text := range r.OverBudget() {
			a.warning(text)
		}
	}
	return r.Check(o.strict)
}
