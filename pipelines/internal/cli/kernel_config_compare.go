package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/parity"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type compareOptions struct {
	kata, arch, config string
	markdown           bool
}

func kernelConfigCompareCmd(a *app) *cobra.Command {
	var o compareOptions
	cmd := &cobra.Command{
		Use:   "compare [VARIANT] --kata PATH",
		Short: "Compare kernels with the ones that a checkout of Kata would build",
		Long: `Print the options that Kata's fragments request for a kernel and that ours lacks or
sets to another value, each with the reason from kernel-configs/parity.yaml. Without
VARIANT, compare all kernels. A difference without a reason is an error, and so is a
reason that does not apply.

Our side is the .config that --config names, or that of the kernel's artifact if the
caches have it, or else what our fragments request; the last line of each table says
which.`,
		Example: `  pipelines kernel-config compare --kata ../kata-containers
  pipelines kernel-config compare kernel --arch s390x --kata ../kata-containers --markdown
  pipelines kernel-config compare kernel --kata ../kata-containers --config .config`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.config != "" && len(args) == 0 {
				return errors.New("--config is the configuration of one kernel: name the kernel")
			}
			return cobra.MaximumNArgs(1)(cmd, args)
		},
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return o.run(ctx, a, ws, args)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.kata, "kata", "", "folder of a checkout of Kata Containers")
	flags.StringVar(&o.arch, "arch", "", "architecture, such as x86_64 or arm64 (default: all, or for one kernel this machine's)")
	flags.StringVar(&o.config, "config", "", "final .config of the kernel")
	flags.BoolVar(&o.markdown, "markdown", false, "print the tables as Markdown")
	_ = cmd.MarkFlagRequired("kata") // The flag exists.
	a.cacheFlag(flags)
	a.jsonFlag(flags)
	return cmd
}

func (o compareOptions) run(ctx context.Context, a *app, ws *workspace.Workspace, args []string) error {
	rules, err := ws.Parity()
	if err != nil {
		return err
	}
	kata, err := parity.Open(o.kata)
	if err != nil {
		return err
	}
	kernels, err := o.kernels(ws, args)
	if err != nil {
		return err
	}
	var ours []parity.Kernel
	for _, k := range kernels {
		one, err := o.ours(ctx, ws, k)
		if err != nil {
			return err
		}
		ours = append(ours, one)
	}
	compared, err := rules.Compare(kata, ours)
	if compared == nil {
		return err
	}
	text := ""
	for _, c := range compared {
		text += table(c.Rows, "", func(r parity.Row) string {
			return strings.Join([]string{r.Option, dash(r.Kata), dash(r.Ours), r.Where, cmp.Or(r.Reason, "NO REASON")}, "\t")
		}) + c.Summary() + "\n\n"
	}
	if o.markdown {
		text = parity.Markdown(compared)
	}
	return errors.Join(a.print(compared, text), a.summarize(parity.Markdown(compared)), err)
}

// kernels returns the kernels to compare: the named one, or all.
func (o compareOptions) kernels(ws *workspace.Workspace, args []string) (kernels []kernelOf, err error) {
	if len(args) > 0 {
		k, err := kernel(ws, args[0], o.arch)
		return []kernelOf{k}, err
	}
	arch, err := workspace.Arch(o.arch)
	if err != nil {
		return nil, err
	}
	listed, err := listKernels(ws)
	for _, l := range listed {
		if err == nil && (o.arch == "" || l.Arch == arch) {
			var k kernelOf
			k, err = kernel(ws, l.Variant, string(l.Arch))
			kernels = append(kernels, k)
		}
	}
	return kernels, err
}

// ours returns the options of a kernel: of the file that --config names, of the artifact,
// or the requested ones.
func (o compareOptions) ours(ctx context.Context, ws *workspace.Workspace, k kernelOf) (parity.Kernel, error) {
	one := parity.Kernel{Name: k.asset.Name, Arch: k.plan.Arch}
	var data []byte
	var err error
	if one.Config = o.config; o.config != "" {
		data, err = files.ReadNamed(o.config, maxConfig)
	} else {
		one.Config, data, err = artifactConfig(ctx, ws, k)
	}
	switch {
	case store.IsNotFound(err):
		one.Config, one.Side.Options = "requested options", k.plan.Requested.Options
		return one, nil
	case err != nil:
		return one, err
	}
	one.Side.Final = true
	one.Side.Options, err = kconfig.ParseConfig(one.Config, data)
	return one, err
}

// artifactConfig returns the final .config of the kernel's artifact, with a description.
// The error is store.ErrNotFound if the caches have no artifact for the key.
func artifactConfig(ctx context.Context, ws *workspace.Workspace, k kernelOf) (what string, config []byte, err error) {
	var artifact store.Artifact
	err = ws.Walk([]string{k.asset.Name}, k.arch, func(ref store.Ref) (store.Artifact, error) {
		artifact, err = ws.Store.Get(ctx, ref)
		return artifact, err
	})
	if err != nil {
		return "", nil, err
	}
	blob, err := ws.Store.Blob(ctx, artifact, "")
	if err != nil {
		return "", nil, err
	}
	tarball, err := archive.Open(blob)
	if err != nil {
		return "", nil, err
	}
	defer tarball.Close()
	for _, member := range tarball.Index().Members() {
		if strings.HasPrefix(path.Base(member.Name), "config-") {
			var text bytes.Buffer
			err = archive.Cat(&text, blob, member.Name)
			return "final configuration of the artifact " + shortKey(artifact.Key), text.Bytes(), err
		}
	}
	return "", nil, fmt.Errorf("the artifact of %s has no file config-*", k.asset.Name)
}

func kernelConfigDiffCmd(a *app) *cobra.Command {
	var arch string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare kernels, architectures, revisions and .config files",
		Long: `Print the options that differ between A and B, with the places that request them.
A and B are each one of

  kernel-debug            the requested options of a kernel
  kernel@s390x            the same on an architecture
  v1.0:kernel@s390x       the same in a git revision, as in git show v1.0:FILE
  ./.config               a .config file: any argument with a dot or a slash that
                          is none of the above

A .config has a value for every option. Compared with one, only requested options
count, and an absent option is not set.`,
		Example: `  pipelines kernel-config diff kernel kernel-debug
  pipelines kernel-config diff kernel@x86_64 kernel@arm64
  pipelines kernel-config diff HEAD~1:kernel kernel
  pipelines kernel-config diff kernel-debug /boot/config-6.18.15`,
		Args: cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runKernelConfigDiff(ctx, a, ws, args, arch)
		}),
	}
	kernelArchFlag(cmd, &arch)
	return a.printing(cmd)
}

func runKernelConfigDiff(ctx context.Context, a *app, ws *workspace.Workspace, args []string, arch string) error {
	var sides [2]kconfig.Side
	for i, arg := range args {
		one, err := side(ctx, ws, arg, arch)
		if err != nil {
			return err
		}
		sides[i] = one
	}
	differences := kconfig.Compare(sides[0], sides[1])
	text := fmt.Sprintf("no differences between %s and %s\n", args[0], args[1])
	if len(differences) > 0 {
		text = table(differences, "OPTION\t"+args[0]+"\t"+args[1]+"\tWHERE", differenceRow)
	}
	return a.print(differences, text)
}

func differenceRow(d kconfig.Difference) string {
	values, places := []string{"-", "-"}, []string{}
	for i, o := range []*kconfig.Option{d.A, d.B} {
		if o != nil {
			values[i], places = o.Value, append(places, o.Pos())
		}
	}
	return d.Name + "\t" + strings.Join(values, "\t") + "\t" + strings.Join(places, " ")
}

// aKernel is VARIANT or VARIANT@ARCH, optionally after a revision and a colon.
var aKernel = regexp.MustCompile(`^(?:(.+):)?([a-z0-9]+(?:-[a-z0-9]+)*)(?:@([a-z0-9_]+))?$`)

func side(ctx context.Context, ws *workspace.Workspace, arg, arch string) (kconfig.Side, error) {
	match := aKernel.FindStringSubmatch(arg)
	if match == nil {
		data, err := files.ReadNamed(arg, maxConfig)
		if err != nil {
			return kconfig.Side{}, err
		}
		options, err := kconfig.ParseConfig(arg, data)
		return kconfig.Side{Options: options, Final: true}, err
	}
	revision, name := match[1], match[2]
	if match[3] != "" {
		arch = match[3]
	}
	assets, tree := ws.Catalog, ws.Files()
	if revision != "" {
		var err error
		if tree, err = ws.Revision(ctx, revision); err != nil {
			return kconfig.Side{}, err
		}
		if assets, err = catalog.Load(tree); err != nil {
			return kconfig.Side{}, fmt.Errorf("reading the assets of %s: %w", revision, err)
		}
	}
	asset, chosen, err := assets.FindKernel(name, arch)
	if err != nil {
		return kconfig.Side{}, usage(err)
	}
	set, err := kconfig.Load(tree, asset.Kernel.Folders(chosen), chosen.Kernel())
	if err != nil {
		return kconfig.Side{}, err
	}
	if revision != "" {
		for i := range set.Options {
			set.Options[i].Path = revision + ":" + set.Options[i].Path
		}
	}
	return kconfig.Side{Options: set.Options}, nil
}
