package cli

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
)

func TestExplainMarkdown(t *testing.T) {
	all := steps()
	all[2].Absent = []build.Absent{{Source: "linux", Places: []string{"https://cdn.kernel.org/a_b.tar"}, Pinned: true}}
	text := explainMarkdown(all, func(name string) []string {
		if name == "kernel-debug" {
			return []string{"rootfs-image"}
		}
		return nil
	})
	golden(t, "explain.md", text)
	if strings.Contains(text, "\x1b") {
		t.Error("a recipe speaks to a terminal")
	}
	if text := explainMarkdown(all[:2], nil); text != "" {
		t.Errorf("everything is in the cache, and yet: %q", text)
	}
}
