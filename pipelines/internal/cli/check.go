package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/matrix"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/supply"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func checkCmd(a *app) *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check versions.yaml, its lock, the assets and the kernel configurations",
		Long: `Check versions.yaml, assets/sources.yaml, the assets, the release sets and the kernel
configurations: every recipe must resolve, every source needs a license whose text is
known, and no two assets of a release set may ship the same path, as far as it is known
without building. What has a version that assets/sources.yaml
does not know is named: it can be planned, but not built. With a base, also check that
kernel-configs/kata_config_version has grown if the requested options differ from those
at the fork from the base.`,
		Example: `  pipelines check
  pipelines check --base main`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			checked, err := ws.Check(ctx)
			if err == nil {
				_, err = supply.NewBundle(ws, everything(ws), true)
			}
			if base != "" {
				err = errors.Join(err, ws.CheckRaised(ctx, base))
			}
			if err == nil {
				_, err = fmt.Fprintf(a.Stdout, "%d assets, %d recipes: ok\n", len(ws.Catalog.Assets), checked)
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&base, "base", a.Getenv("GITHUB_BASE_REF"),
		"git revision that this branch is to be merged into (default: $GITHUB_BASE_REF, or none)")
	return cmd
}

// everything returns the names of all assets.
func everything(ws *workspace.Workspace) map[catalog.Arch][]string {
	names := map[catalog.Arch][]string{}
	for _, arch := range catalog.Arches() {
		names[arch] = ws.Catalog.On(arch)
	}
	return names
}

// listed is an asset on one architecture.
type listed struct {
	Name        string            `json:"name"`
	Arch        catalog.Arch      `json:"arch"`
	Origin      recipe.Origin     `json:"origin"`
	Description string            `json:"description"`
	Pins        map[string]string `json:"pins"`
	// Differs are the pins whose values are not Kata's.
	Differs      []versions.Difference `json:"differs"`
	Sources      []string              `json:"sources"`
	Dependencies []string              `json:"dependencies"`
}

func listCmd(a *app) *cobra.Command {
	var arch string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the assets by architecture, with their pins and dependencies",
		Long: `List the assets by architecture: whether each is built, imported from a published
archive, or out of reach, and why. A pin whose value is not the one in Kata's own
versions.yaml is followed by the value there.`,
		Example: `  pipelines list
  pipelines list --arch s390x --json`,
		RunE: a.with(func(_ context.Context, ws *workspace.Workspace, _ []string) error {
			assets, err := listAssets(ws, arch)
			if err != nil {
				return err
			}
			return printList(a, assets, "ARCH\tASSET\tORIGIN\tPINS\tDEPENDS ON\tDESCRIPTION\tFROM", func(l listed) string {
				return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", l.Arch, l.Name, l.Origin.How, l.pins(), dash(l.Dependencies...), l.Description, cmp.Or(l.Origin.Why, dash(l.Origin.From...)))
			})
		}),
	}
	cmd.Flags().StringVar(&arch, "arch", "", "list only this architecture")
	return a.printing(cmd)
}

// listAssets returns the assets of one architecture, or of all.
func listAssets(ws *workspace.Workspace, arch string) ([]listed, error) {
	wanted := catalog.Arches()
	if arch != "" {
		one, err := workspace.Arch(arch)
		if err != nil {
			return nil, err
		}
		wanted = []catalog.Arch{one}
	}
	var assets []listed
	for _, arch := range wanted {
		list, err := listOn(ws, arch)
		if err != nil {
			return nil, err
		}
		assets = append(assets, list...)
	}
	return assets, nil
}

// listOn returns the assets of an architecture, by name.
func listOn(ws *workspace.Workspace, arch catalog.Arch) (assets []listed, err error) {
	closure, err := ws.Catalog.Closure(ws.Catalog.On(arch), arch)
	if err != nil {
		return nil, err
	}
	origins, err := ws.Resolver.Origins(closure)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(closure, func(a, b catalog.Asset) int { return strings.Compare(a.Name, b.Name) })
	for _, asset := range closure {
		a := listed{
			Name: asset.Name, Arch: arch, Origin: origins[asset.Name], Description: asset.Description,
			Pins: map[string]string{}, Differs: ws.Resolver.Differences(asset),
			Sources:      append([]string{}, slices.Sorted(maps.Values(asset.Sources))...),
			Dependencies: append([]string{}, asset.Dependencies...),
		}
		for _, path := range asset.Pins {
			value, err := ws.Resolver.Versions.Pin(path)
			if err != nil && !errors.As(err, new(*versions.Unlocked)) {
				return nil, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
			}
			if value != "" { // Otherwise, the file of pins has no single one.
				a.Pins[path] = value
			}
		}
		assets = append(assets, a)
	}
	return assets, nil
}

// pins returns the pins in one line, with Kata's values of those that differ.
func (l listed) pins() string {
	values := maps.Clone(l.Pins)
	for _, d := range l.Differs {
		values[d.Pin] = d.Value + " (Kata: " + d.Kata + ")"
	}
	var out []string
	for _, pin := range slices.Sorted(maps.Keys(values)) {
		out = append(out, pin+"="+values[pin])
	}
	return dash(out...)
}

func matrixCmd(a *app) *cobra.Command {
	var o matrix.Options
	var arch string
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Print the assets as the matrix of a job of GitHub Actions",
		Long: `Print the assets of an architecture as the matrix of a job of GitHub Actions, one
line of JSON, dependencies first: of one stage, or of all. The assets of a stage
depend only on assets of earlier stages, so they can be built at the same time; a
stage that does not exist has none. Each has the label of a machine that builds it:
x86_64 if there are cross compilers, or else one of its own architecture. An asset
that needs a source without a hash or commit is left out, with a message, and so is
everything that depends on it; with --anybody, also an asset that needs a secret or a
machine that is not GitHub's, and with --without, the assets that it names.

In a step of GitHub Actions the output "matrix" of the step is set as well.`,
		Example: `  pipelines matrix --arch arm64
  pipelines matrix --stage 1 --anybody`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("stage") && o.Stage < 1 {
				return fmt.Errorf("--stage %d: stages count from 1", o.Stage)
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: a.with(func(_ context.Context, ws *workspace.Workspace, _ []string) error {
			return runMatrix(a, ws, o, arch)
		}),
	}
	archFlag(cmd.Flags(), &arch)
	cmd.Flags().IntVar(&o.Stage, "stage", 0, "print only this stage, counted from 1 (default: all)")
	cmd.Flags().BoolVar(&o.Anybody, "anybody", false, "leave out assets that need a secret, or a machine that is not GitHub's")
	cmd.Flags().StringSliceVar(&o.Without, "without", nil, "assets to leave out, with everything that depends on them")
	return cmd
}

func runMatrix(a *app, ws *workspace.Workspace, o matrix.Options, arch string) (err error) {
	if o.Arch, err = workspace.Arch(arch); err != nil {
		return err
	}
	if o.Without, err = ws.Known(o.Without); err != nil {
		return err
	}
	m, left, err := matrix.New(ws.Catalog, ws.Resolver, o)
	if err != nil {
		return err
	}
	for _, why := range left {
		fmt.Fprintf(a.Stderr, "left out: %s\n", why)
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.Stdout, "%s\n", line); err != nil {
		return err
	}
	return a.output("matrix", string(line))
}
