package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type explainOptions struct {
	registry string
	arch     string
	inputs   bool
	json     bool
}

// explained is a step of a plan with all that is known about it.
type explained struct {
	build.Step
	// TakesWithIt are the assets whose keys change where this one's output does;
	// none for a hit.
	TakesWithIt []string        `json:"takesWithIt"`
	Recipe      json.RawMessage `json:"recipe"`
}

func explainCmd(a *app) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Print what changed since an asset was last built",
		Long: `Compare the inputs of an asset with those of the nearest earlier artifact: the
one of the local cache with the most inputs in common, or else the latest of the
branch in the registry. With --inputs print the key and everything that is in it.`,
		Example: `  pipelines explain kernel-debug
  pipelines explain kernel-debug --inputs
  pipelines explain qemu --arch arm64 --json`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: a.with(&o.registry, func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			step, err := explain(ctx, ws, args[0], o.arch)
			switch {
			case err != nil:
				return err
			case o.json:
				if step.Recipe, err = step.Resolved.Recipe.Canonical(); err != nil {
					return err
				}
				return printJSON(a.Stdout, step)
			case o.inputs:
				return printInputs(a.Stdout, step.Step)
			}
			return printExplained(a.Stdout, step)
		}),
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	cacheFlag(flags, a, &o.registry)
	flags.BoolVar(&o.inputs, "inputs", false, "print the key and all inputs that are in it")
	flags.BoolVar(&o.json, "json", false, "print the key, the changes and all inputs as JSON")
	return cmd
}

// explain plans one asset.
func explain(ctx context.Context, ws *workspace.Workspace, name, arch string) (explained, error) {
	_, parsed, err := ws.One(name, arch)
	if err != nil {
		return explained{}, err
	}
	plan, err := planner(ctx, ws, ws.Sources).Plan(ctx, []string{name}, parsed)
	if err != nil {
		return explained{}, err
	}
	step := explained{Step: plan.Step(name), TakesWithIt: []string{}}
	if step.State != build.Hit {
		step.TakesWithIt = append(step.TakesWithIt, ws.Catalog.Dependents(name, parsed)...)
	}
	return step, nil
}

// printExplained writes for a person what changed and what comes of it.
func printExplained(w io.Writer, s explained) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s on %s: %s\n", s.Asset, s.Arch, stateOf(s.Step))
	if s.Key != "" {
		fmt.Fprintf(&out, "key %s\n", s.Key)
	}
	if len(s.PendingOn) > 0 {
		fmt.Fprintf(&out, "its key depends on what must be built first: %s\n", strings.Join(s.PendingOn, ", "))
	}
	if s.State == build.Hit {
		fmt.Fprintf(&out, "nothing changed: the artifact of these inputs is there, %s, %s\n", progress.Size(s.Size), s.Digest)
	} else {
		printChanges(&out, s.Step)
	}
	if len(s.TakesWithIt) > 0 {
		fmt.Fprintf(&out, "takes with it: %s\n", strings.Join(s.TakesWithIt, ", "))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func printChanges(out *strings.Builder, s build.Step) {
	switch {
	case s.Against == nil:
		fmt.Fprintf(out, "no earlier artifact of %s on %s to compare with\n", s.Asset, s.Arch)
		return
	case len(s.Changes) == 0 && s.State == build.Miss:
		fmt.Fprintln(out, s.Why)
		return
	}
	fmt.Fprintf(out, "against %s (%s)\n", shortKey(s.Against.Key), s.Against.Where)
	for _, change := range s.Changes {
		fmt.Fprintf(out, "  %s\n", progress.Printable(change.String()))
	}
	if len(s.Changes) == 0 {
		fmt.Fprintln(out, "  nothing of its own changed")
	}
}

// printInputs writes the inputs of a recipe for a person, a heading and
// indented lines for each kind.
func printInputs(w io.Writer, step build.Step) error {
	r := step.Resolved.Recipe
	var out strings.Builder
	section := func(title string, lines ...string) {
		if len(lines) > 0 {
			fmt.Fprintf(&out, "%s\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	key := step.Key
	if key == "" {
		key = "pending on " + strings.Join(step.PendingOn, ", ")
	}
	section("key", key)
	section("asset", fmt.Sprintf("%s on %s, recipe schema %d", r.Asset, r.Arch, r.Schema))
	section("builder", fmt.Sprintf("%s %s, epoch %d", r.Builder.Distribution, r.Builder.Suite, r.Builder.Epoch),
		"image "+r.Builder.Image, "packages "+strings.Join(r.Builder.Packages, " "))
	section("pins", lines(r.Pins, func(p recipe.Pin) string { return fmt.Sprintf("%s = %s (%s)", p.Path, p.Value, p.Env) })...)
	section("options", lines(slices.Sorted(maps.Keys(r.Options)), func(name string) string { return name + " = " + r.Options[name] })...)
	for _, s := range r.Sources {
		section("source "+s.Name+" ("+s.Path+")", lines(s.Places, func(p recipe.Place) string { return p.Hash + "  " + p.Name })...)
	}
	section("dependencies", dependencyLines(r.Dependencies)...)
	section("secrets", lines(r.Secrets, func(s recipe.Secret) string { return s.Fingerprint + "  " + s.Name })...)
	if k := r.Kernel; k != nil {
		section("kernel", "configs "+strings.Join(k.Configs, " "), fmt.Sprintf("config version %d", k.ConfigVersion),
			"suffix "+orDash(k.Suffix), "exceptions "+dash(k.Exceptions))
	}
	section("steps", lines(r.Steps, func(s recipe.Step) string { return s.Name + ": " + s.Script })...)
	section("files", lines(r.Files, func(f recipe.File) string { return f.SHA256[:16] + "  " + f.Mode + "  " + f.Path })...)
	section("output", fmt.Sprintf("%s, level %d, time stamps %d", r.Output.Format, r.Output.Level, r.Output.SourceDateEpoch))
	section("secondary outputs", r.Output.Outputs...)
	_, err := io.WriteString(w, out.String())
	return err
}

func dependencyLines(dependencies []recipe.Dependency) []string {
	var out []string
	for _, d := range dependencies {
		out = append(out, d.Digest+"  "+d.Asset)
		for _, output := range d.Outputs {
			out = append(out, output.Digest+"  "+d.Asset+" "+output.Name)
		}
	}
	return out
}

func lines[T any](items []T, line func(T) string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = line(item)
	}
	return out
}
