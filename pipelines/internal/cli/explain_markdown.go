package cli

import (
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// explainMarkdown explains a plan below its table in the summary of a step of
// GitHub Actions: for each asset that is not in the cache, folded, all that changed
// since the nearest artifact, what no cache has, and the assets that it takes with
// it. It returns "" where everything is in the cache.
func explainMarkdown(steps []build.Step, takesWithIt func(name string) []string) string {
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
			item(sayAbsent(absent))
		}
		if takes := takesWithIt(s.Asset); len(takes) > 0 {
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
