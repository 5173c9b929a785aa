package planview

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// steps has one of each kind. A recipe out of a registry may try to speak to a
// terminal.
func steps() []build.Step {
	key := func(digit string) string { return strings.Repeat(digit, 64) }
	imported := recipe.Origin{How: recipe.Imported, From: []string{"https://example.org/kata-static.tar.zst", "oci:ghcr.io/kata/\x1bagent@sha256:12"}}
	built := recipe.Origin{How: recipe.Built, From: []string{}}
	list := []build.Step{
		{
			Origin: imported,
			Asset:  "agent", Arch: "x86_64", Key: key("a"), State: build.Hit, Where: store.InLocal, Digest: "sha256:" + key("1"), Size: 5 << 20,
			Stage: 1, Dependencies: []string{}, PendingOn: []string{}, Changes: []recipe.Change{}, Against: &build.Against{Key: key("a"), Where: store.InLocal},
		},
		{
			Asset: "busybox", Arch: "x86_64", Key: key("b"), State: build.Hit, Where: store.InRegistry, Digest: "sha256:" + key("2"), Size: 700,
			Stage: 1, Dependencies: []string{}, PendingOn: []string{}, Changes: []recipe.Change{}, Against: &build.Against{Key: key("b"), Where: store.InRegistry},
		},
		{
			Asset: "kernel-debug", Arch: "x86_64", Key: key("c"), State: build.Miss, Stage: 1, Dependencies: []string{}, PendingOn: []string{},
			Against: &build.Against{Key: key("d"), Where: store.InLocal},
			Changes: []recipe.Change{
				{Kind: "pin", Name: "assets.kernel.version", Old: "v6.18.15", New: "v6.18.16"},
				{Kind: "option", Name: "A|B", Old: "1\x1b[2J", New: "`<2>`"},
				{Kind: "file", Name: "kernel-configs/debug/ebpf.conf", Old: "0644 sha256:1", New: "0644 sha256:2"},
			},
			Why: "assets.kernel.version v6.18.15 -> v6.18.16, option A|B 1\x1b[2J -> `<2>`, kernel-configs/debug/ebpf.conf changed",
		},
		{
			Origin: recipe.Origin{How: recipe.OutOfReach, From: []string{}, Why: "the source externals.shim has no pinned hash or commit"},
			Asset:  "shim-v2", Arch: "x86_64", Key: key("e"), State: build.OutOfReach, Stage: 1, Dependencies: []string{}, PendingOn: []string{},
			Changes: []recipe.Change{}, Why: "the source externals.shim has no pinned hash or commit",
		},
		{
			Asset: "ovmf", Arch: "x86_64", Key: key("f"), State: build.Miss, Stage: 1, Dependencies: []string{}, PendingOn: []string{},
			Changes: []recipe.Change{}, Against: &build.Against{Key: key("f"), Where: store.InLocal},
			Why:     "nothing changed, but the artifact of these inputs (local) is not to be used",
			Differs: []versions.Difference{{Pin: "externals.ovmf.x86_64.version", Value: "edk2-stable202502", Kata: "edk2-stable202508"}},
		},
		{
			Asset: "rootfs-image", Arch: "x86_64", State: build.Pending, Stage: 2, Dependencies: []string{"agent", "kernel-debug"},
			PendingOn: []string{"kernel-debug"}, Changes: []recipe.Change{}, Against: &build.Against{Key: key("9"), Where: store.InRegistry},
			Why: "kernel-debug must be built first",
		},
	}
	for i := range list {
		if list[i].Origin.How == "" {
			list[i].Origin = built
		}
	}
	return list
}

func TestPrintPlan(t *testing.T) {
	require.Golden(t, "testdata/plan.txt", Plan(steps(), catalog.X86_64))
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(steps()))
	require.Golden(t, "testdata/plan.json", out.String())
}

func TestPlanMarkdown(t *testing.T) {
	all := steps()
	all[2].Absent = []build.Absent{{Source: "linux", Places: []string{"https://cdn.kernel.org/a_b.tar"}, Pinned: true}}
	assets := &catalog.Catalog{Assets: []catalog.Asset{
		{Name: "kernel-debug", Arches: []catalog.Arch{catalog.X86_64}},
		{Name: "rootfs-image", Arches: []catalog.Arch{catalog.X86_64}, Dependencies: []string{"kernel-debug"}},
	}}
	text := Markdown(all, catalog.X86_64, assets)
	require.Golden(t, "testdata/plan.md", text)
	if strings.Contains(text, "\x1b") {
		t.Error("a recipe speaks to a terminal")
	}
	if text := Markdown(all[:2], catalog.X86_64, assets); strings.Contains(text, "<details>") {
		t.Errorf("everything is in the cache, and yet: %q", text)
	}
}

func TestTotal(t *testing.T) {
	all := steps()
	for want, some := range map[string][]build.Step{
		"no assets on x86_64":                 nil,
		"1 asset: 1 hit (local)":              all[:1],
		"2 assets: 1 build, 1 out of reach":   all[2:4],
		"2 assets: 1 hit (registry), 1 build": all[1:3],
		"6 assets: 1 hit (local), 1 hit (registry), 2 build, 1 pending, 1 out of reach": all,
	} {
		if got := total(some, catalog.X86_64); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPrintExplained(t *testing.T) {
	var out strings.Builder
	for _, step := range steps() {
		takes := []string{}
		if step.Asset == "kernel-debug" {
			takes = []string{"rootfs-image", "shim-v2"}
		}
		out.WriteString(Explanation(step, takes) + "\n")
	}
	require.Golden(t, "testdata/explain.txt", out.String())
}

func TestPrintInputs(t *testing.T) {
	hash := strings.Repeat("0", 64)
	text := Inputs(build.Step{PendingOn: []string{"agent"}, Resolved: recipe.Plan{Recipe: recipe.Recipe{
		Schema: 2, Asset: "rootfs-image", Arch: "x86_64",
		Builder:      recipe.Builder{Distribution: "debian", Suite: "trixie", Image: "debian@sha256:" + hash, Epoch: 1, Packages: []string{"gcc", "make"}},
		Steps:        []recipe.Step{{Name: "build", Script: "assets/rootfs/build.sh"}},
		Files:        []recipe.File{{Path: "assets/rootfs/build.sh", Mode: "0755", SHA256: hash}},
		Pins:         []recipe.Pin{{Path: "assets.image.version", Env: "VERSION", Value: "3"}},
		Options:      map[string]string{"B": "2", "A": "1"},
		Sources:      []recipe.Source{{Name: "image", Path: "assets.image.source", Places: []recipe.Place{{Name: "upstream", Hash: "sha256:" + hash}}}},
		Dependencies: []recipe.Dependency{{Asset: "agent", Digest: "pending"}, {Asset: "kernel", Digest: "sha256:" + hash, Outputs: []recipe.DependencyOutput{{Name: "modules", Digest: "sha256:" + hash}}}},
		Secrets:      []recipe.Secret{{Name: "PIN", Fingerprint: "sha256:" + hash}},
		Kernel:       &recipe.Kernel{Configs: []string{"common"}, ConfigVersion: 188},
		Output:       recipe.Output{Format: "tar+zstd", Level: 3, SourceDateEpoch: 1, Outputs: []string{"root-hash"}},
	}}})
	require.Golden(t, "testdata/inputs.txt", text)
}
