package cli

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

func TestExplainMarkdown(t *testing.T) {
	all := steps()
	all[2].Absent = []build.Absent{{Source: "linux", Places: []string{"https://cdn.kernel.org/a_b.tar"}, Pinned: true}}
	assets := &catalog.Catalog{Assets: []catalog.Asset{
		{Name: "kernel-debug", Arches: []catalog.Arch{catalog.X86_64}},
		{Name: "rootfs-image", Arches: []catalog.Arch{catalog.X86_64}, Dependencies: []string{"kernel-debug"}},
	}}
	text := explainMarkdown(all, assets)
	golden(t, "explain.md", text)
	if strings.Contains(text, "\x1b") {
		t.Error("a recipe speaks to a terminal")
	}
	if text := explainMarkdown(all[:2], assets); text != "" {
		t.Errorf("everything is in the cache, and yet: %q", text)
	}
}
