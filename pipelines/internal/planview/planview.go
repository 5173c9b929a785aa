// Package planview writes build plans and their explanations for people: as text
// for a terminal and as Markdown for the summary of a step of GitHub Actions. Recipes
// come from registries, too, so their text is escaped for the terminal or the page.
// Programs read the JSON of the values themselves.
package planview

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Plan returns a table of the steps of a plan, a line for each reason, with the assets
// that have it, and the total.
func Plan(steps []build.Step, arch catalog.Arch) string {
	var out strings.Builder
	var reasons []string
	assets := map[string][]string{}
	why := func(asset, reason string) {
		if assets[reason] == nil {
			reasons = append(reasons, reason)
		}
		assets[reason] = append(assets[reason], asset)
	}
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STAGE\tASSET\tARCH\tORIGIN\tSTATE\tWHERE\tSIZE\tKEY")
	for _, s := range steps {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Stage, s.Asset, s.Arch, s.Origin.How, s.State, cmp.Or(s.Where, "-"), cmp.Or(size(s), "-"), cmp.Or(short(s.Key), "-"))
		if s.Origin.How == recipe.Imported {
			why(s.Asset, s.Origin.String())
		}
		if s.Why != "" {
			why(s.Asset, s.Why)
		}
		for _, absent := range s.Absent {
			why(s.Asset, absent.String())
		}
		for _, d := range s.Differs {
			why(s.Asset, d.String())
		}
	}
	_ = table.Flush() // It writes to memory.
	for i, reason := range reasons {
		if i == 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "%s: %s\n", strings.Join(assets[reason], ", "), progress.Printable(reason))
	}
	return out.String() + "\n" + total(steps, arch) + "\n"
}

// total counts: "3 assets: 1 hit (local), 1 build, 1 pending".
func total(steps []build.Step, arch catalog.Arch) string {
	if len(steps) == 0 {
		return fmt.Sprintf("no assets on %s", arch)
	}
	count := map[string]int{}
	for _, s := range steps {
		count[state(s)]++
	}
	var parts []string
	for _, state := range []string{"hit (" + store.InLocal + ")", "hit (" + store.InRegistry + ")", string(build.Miss), string(build.Pending), string(build.OutOfReach)} {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	return counted(len(steps), "asset") + ": " + strings.Join(parts, ", ")
}

// counted counts: "1 change".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// state returns the state of a step, and where a hit was found.
func state(s build.Step) string {
	if s.State == build.Hit {
		return fmt.Sprintf("%s (%s)", s.State, s.Where)
	}
	return string(s.State)
}

// size returns the size of a hit, "" for other steps.
func size(s build.Step) string {
	if s.State != build.Hit {
		return ""
	}
	return progress.Size(s.Size)
}

// short returns as much of a key as a person compares.
func short(key string) string { return fmt.Sprintf("%.12s", key) }

// Explanation says what changed for a step, and which dependents change with it.
func Explanation(s build.Step, dependents []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s on %s: %s\n", s.Asset, s.Arch, state(s))
	if s.Key != "" {
		fmt.Fprintf(&out, "key %s\n", s.Key)
	}
	switch {
	case s.State == build.OutOfReach:
		fmt.Fprintln(&out, progress.Printable(s.Why))
	case s.Origin.How != recipe.Built:
		fmt.Fprintln(&out, progress.Printable(s.Origin.String()))
	}
	for _, d := range s.Differs {
		fmt.Fprintln(&out, progress.Printable(d.String()))
	}
	if len(s.PendingOn) > 0 {
		fmt.Fprintf(&out, "its key depends on earlier builds: %s\n", strings.Join(s.PendingOn, ", "))
	}
	switch {
	case s.State == build.Hit:
		fmt.Fprintf(&out, "nothing changed: the artifact of these inputs is there, %s, %s\n", progress.Size(s.Size), s.Digest)
	case s.Against == nil:
		fmt.Fprintf(&out, "no earlier artifact of %s on %s to compare with\n", s.Asset, s.Arch)
	case len(s.Changes) == 0 && s.State == build.Miss:
		fmt.Fprintln(&out, s.Why)
	default:
		fmt.Fprintf(&out, "against %s (%s)\n", short(s.Against.Key), s.Against.Where)
		for _, change := range s.Changes {
			fmt.Fprintf(&out, "  %s\n", progress.Printable(change.String()))
		}
		if len(s.Changes) == 0 {
			fmt.Fprintln(&out, "  none of its own inputs changed")
		}
	}
	if len(dependents) > 0 {
		fmt.Fprintf(&out, "also changes: %s\n", strings.Join(dependents, ", "))
	}
	return out.String()
}

// Inputs lists the key of a step and its inputs, with a heading for each kind.
func Inputs(step build.Step) string {
	var out strings.Builder
	without := "pending on " + strings.Join(step.PendingOn, ", ")
	if step.State == build.OutOfReach {
		without = "none: " + progress.Printable(step.Why)
	}
	fmt.Fprintf(&out, "key\n  %s\n", cmp.Or(step.Key, without))
	kind := ""
	for _, input := range step.Resolved.Recipe.Inputs() {
		if input.Kind != kind {
			kind = input.Kind
			fmt.Fprintln(&out, kind)
		}
		fmt.Fprintln(&out, strings.TrimSuffix("  "+input.Name+" "+input.Value, " present"))
	}
	return out.String()
}

// Result says how an artifact was obtained, and what it is.
func Result(r build.Result) string {
	return fmt.Sprintf("%s: %s, %s, key %s", how(r), progress.Size(r.Size), r.Digest, short(r.Key))
}

func how(r build.Result) string {
	text := "built"
	if r.Cached {
		text = "from the cache"
	}
	if !r.Changed {
		text += ", already in place"
	}
	if r.Reproduced {
		text += ", reproduced"
	}
	return text
}

// Markdown returns a table of a plan and below it, folded, the explanation of each
// asset that is not in the cache: all changes since the nearest artifact, the sources
// that no cache has, and the assets that depend on it.
func Markdown(steps []build.Step, arch catalog.Arch, assets *catalog.Catalog) string {
	var out strings.Builder
	markdown.Table(&out, "stage", "asset", "arch", "origin", "state", "size", "key", "why")
	for _, s := range steps {
		markdown.Row(&out, fmt.Sprint(s.Stage), s.Asset, s.Arch, printable(s.Origin.String()), state(s), size(s), markdown.Code(short(s.Key)), printable(s.Why))
	}
	out.WriteString("\n" + total(steps, arch) + "\n")
	differences(&out, steps)
	for _, s := range steps {
		if s.State == build.Hit {
			continue
		}
		title := "nothing earlier to compare with"
		if s.Against != nil {
			title = fmt.Sprintf("%s against <code>%s</code> (%s)", counted(len(s.Changes), "change"), short(s.Against.Key), s.Against.Where)
		}
		fmt.Fprintf(&out, "\n<details><summary>%s: %s</summary>\n\n", s.Asset, title)
		item := func(text string) { fmt.Fprintf(&out, "- %s\n", printable(text)) }
		for _, change := range s.Changes {
			item(change.String())
		}
		if len(s.Changes) == 0 {
			item(s.Why)
		}
		for _, absent := range s.Absent {
			item(absent.String())
		}
		if dependents := assets.Dependents(s.Asset, catalog.Arch(s.Arch)); len(dependents) > 0 {
			item("also changes: " + strings.Join(dependents, ", "))
		}
		out.WriteString("\n</details>\n")
	}
	return out.String()
}

// differences lists the pins that are not Kata's, with the assets that they decide.
func differences(out *strings.Builder, steps []build.Step) {
	assets := map[versions.Difference][]string{}
	for _, s := range steps {
		for _, d := range s.Differs {
			assets[d] = append(assets[d], s.Asset)
		}
	}
	for i, d := range slices.SortedFunc(maps.Keys(assets), func(a, b versions.Difference) int { return strings.Compare(a.Pin, b.Pin) }) {
		if i == 0 {
			out.WriteString("\nNot the versions that Kata pins:\n\n")
		}
		fmt.Fprintf(out, "- %s (%s)\n", printable(d.String()), strings.Join(assets[d], ", "))
	}
}

func printable(text string) string { return markdown.Plain(progress.Printable(text)) }

// ResultsMarkdown returns a table of results, or "" if there are none.
func ResultsMarkdown(results []build.Result) string {
	if len(results) == 0 {
		return ""
	}
	var out strings.Builder
	markdown.Table(&out, "asset", "arch", "result", "size", "sha256", "key")
	for _, r := range results {
		markdown.Row(&out, r.Asset, r.Arch, how(r), progress.Size(r.Size), markdown.Code(strings.TrimPrefix(r.Digest, "sha256:")), markdown.Code(r.Key))
	}
	return out.String()
}
