package cli

import (
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// explainMarkdown explains a plan below its table in the summary of a step of
// GitHub Actions: for each asset that is not in the cache, folded, all that changed
// since the nearest artifact, sources that no cache has, and the assets that depend
// on it. It returns "" where everything is in the cache.
func explainMarkdown(steps []build.Step, assets *catalog.Catalog) string {
	var out strings.Builder
	for _, s := range steps {
		if s.State == build.Hit {
			continue
		}
		title := "nothing earlier to compare with"
		if s.Against != nil {
			title = fmt.Sprintf("%s against <code>%s</code> (%s)", changes(len(s.Changes)), shortKey(s.Against.Key), s.Against.Where)
		}
		fmt.Fprintf(&out, "\n<details><summary>%s: %s</summary>\n\n", s.Asset, title)
		item := func(text string) { fmt.Fprintf(&out, "- %s\n", markdownCell.Replace(progress.Printable(text))) }
		for _, change := range s.Changes {
			item(change.String())
		}
		if len(s.Changes) == 0 {
			item(s.Why)
		}
		for _, absent := range s.Absent {
			item(absent.String())
		}
		if takes := assets.Dependents(s.Asset, catalog.Arch(s.Arch)); len(takes) > 0 {
			item("takes with it: " + strings.Join(takes, ", "))
		}
		out.WriteString("\n</details>\n")
	}
	return out.String()
}

// changes counts: "1 change".
func changes(n int) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}
