package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

func explainCmd(process Process, tree *treeOptions) *cobra.Command {
	var arch string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Print the key of an asset and everything that is in it",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			tree, err := tree.load(process.Stderr)
			if err != nil {
				return err
			}
			plan, err := tree.plan(args[0], arch)
			if err != nil {
				return err
			}
			if !asJSON {
				return explain(process.Stdout, plan)
			}
			canonical, err := plan.Recipe.Canonical()
			if err != nil {
				return err
			}
			return printJSON(process.Stdout, struct {
				Key    string          `json:"key"`
				Recipe json.RawMessage `json:"recipe"`
			}{plan.Key, canonical})
		},
	}
	archFlag(cmd.Flags(), &arch)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key and the recipe as JSON")
	return cmd
}

func (t *tree) plan(name, arch string) (recipe.Plan, error) {
	parsed, err := t.find([]string{name}, arch)
	if err != nil {
		return recipe.Plan{}, err
	}
	asset, err := t.catalog.Find(name, parsed)
	if err != nil {
		return recipe.Plan{}, err
	}
	return t.resolver.Resolve(asset, parsed, nil)
}

// explain writes the inputs of a recipe for a person, a heading and indented
// lines for each kind.
func explain(w io.Writer, plan recipe.Plan) error {
	r := plan.Recipe
	var out strings.Builder
	section := func(title string, lines ...string) {
		if len(lines) > 0 {
			fmt.Fprintf(&out, "%s\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	section("key", plan.Key)
	section("asset", fmt.Sprintf("%s on %s, recipe schema %d", r.Asset, r.Arch, r.Schema))
	section("builder", fmt.Sprintf("%s %s, epoch %d", r.Builder.Distribution, r.Builder.Suite, r.Builder.Epoch),
		"image "+r.Builder.Image, "packages "+strings.Join(r.Builder.Packages, " "))
	section("pins", each(r.Pins, func(p recipe.Pin) string { return fmt.Sprintf("%s = %s (%s)", p.Path, p.Value, p.Env) })...)
	section("options", each(slices.Sorted(maps.Keys(r.Options)), func(name string) string { return name + " = " + r.Options[name] })...)
	for _, s := range r.Sources {
		section("source "+s.Name+" ("+s.Path+")", each(s.Places, func(p recipe.Place) string { return p.Hash + "  " + p.Name })...)
	}
	section("dependencies", each(r.Dependencies, func(d recipe.Dependency) string { return d.Digest + "  " + d.Asset })...)
	if k := r.Kernel; k != nil {
		section("kernel", "configs "+strings.Join(k.Configs, " "), fmt.Sprintf("config version %d", k.ConfigVersion),
			"suffix "+dash([]string{k.Suffix}), "exceptions "+dash(k.Exceptions))
	}
	section("steps", each(r.Steps, func(s recipe.Step) string { return s.Name + ": " + s.Script })...)
	section("files", each(r.Files, func(f recipe.File) string { return f.SHA256[:16] + "  " + f.Mode + "  " + f.Path })...)
	section("output", fmt.Sprintf("%s, level %d, time stamps %d", r.Output.Format, r.Output.Level, r.Output.SourceDateEpoch))
	_, err := io.WriteString(w, out.String())
	return err
}

func each[T any](items []T, line func(T) string) []string {
	lines := make([]string, len(items))
	for i, item := range items {
		lines[i] = line(item)
	}
	return lines
}
