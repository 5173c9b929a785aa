package cli

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// setOptions say what is merged, and what its size is compared with. The verbs merge
// and report have them.
type setOptions struct {
	release.Set
	registry string
	strict   bool
	flagSet  *pflag.FlagSet
}

func (o *setOptions) flags(flags *pflag.FlagSet, a *app) {
	o.flagSet = flags
	flags.StringVar(&o.Arch, "arch", "", "architecture of the release, such as x86_64 or arm64 (default: this machine's)")
	flags.StringVar(&o.From, "from", "", "folder of the tarballs, kata-static-NAME.tar.zst (default: the caches, by the keys of the tree)")
	flags.StringSliceVar(&o.Without, "without", nil, "assets to leave out of the release set")
	cacheFlag(flags, a, &o.registry)
	flags.StringVar(&o.Previous, "previous", "", "compare with this merged tarball, or with the JSON of a report")
	flags.StringVar(&o.Limit, "limit", "", "size that the tarball must stay below (default: 2 GiB, the limit of GitHub)")
	flags.BoolVar(&o.strict, "strict", false, "fail if a component exceeds its budget")
}

// parse takes the name of the set. No registry is opened for components of a folder.
func (o *setOptions) parse(args []string) error {
	o.Name = workspace.PayloadSet
	if len(args) > 0 {
		o.Name = args[0]
	}
	if o.From == "" {
		return nil
	}
	o.registry = ""
	if o.flagSet.Changed("cache") {
		return usage(errors.New("give --from or --cache, not both: the components come from a folder or from the caches"))
	}
	return nil
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
