package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

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
	registry, err := cmd.Flags().GetString("cache")
	if o.From != "" {
		registry = ""
		if cmd.Flags().Changed("cache") {
			err = usage(errors.New("give --from or --cache, not both: the components come from a folder or from the caches"))
		}
	}
	if err != nil {
		return nil, nil, err
	}
	ws, err := a.open(cmd.Context(), registry)
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
