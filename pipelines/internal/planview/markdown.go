package planview

import (
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Markdown returns a table of a plan and below it, folded, the explanation of each
// asset that is not in the cache: all changes since the nearest artifact, the sources
// that no cache has, and the assets that depend on it.
func Markdown(steps []build.Step, arch catalog.Arch, assets *catalog.Catalog) string {
	var out strings.Builder
	markdown.Table(&out, "stage", "asset", "arch", "state", "size", "key", "why")
	for _, s := range steps {
		markdown.Row(&out, fmt.Sprint(s.Stage), s.Asset, s.Arch, state(s), size(s), markdown.Code(short(s.Key)), printable(s.Why))
	}
	out.WriteString("\n" + total(steps, arch) + "\n")
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
			item("takes with it: " + strings.Join(dependents, ", "))
		}
		out.WriteString("\n</details>\n")
	}
	return out.String()
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
