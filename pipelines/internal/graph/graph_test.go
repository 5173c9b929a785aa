package graph

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// kata has the shape of a release for amd64.
func kata() []catalog.Asset {
	nodes := []catalog.Asset{
		{Name: "rootfs-image", Dependencies: []string{"agent", "busybox", "kernel"}},
		{Name: "rootfs-image-confidential", Dependencies: []string{"agent", "busybox", "coco-guest-components", "kernel", "pause-image"}},
		{Name: "rootfs-image-mariner", Dependencies: []string{"agent", "busybox"}},
		{Name: "rootfs-image-nvidia-gpu", Dependencies: []string{"agent", "busybox", "kernel-nvidia-gpu"}},
		{Name: "rootfs-image-nvidia-gpu-confidential", Dependencies: []string{"agent", "busybox", "coco-guest-components", "kernel-nvidia-gpu", "pause-image"}},
		{Name: "rootfs-initrd", Dependencies: []string{"agent", "busybox"}},
		{Name: "rootfs-initrd-confidential", Dependencies: []string{"agent", "busybox", "coco-guest-components", "pause-image"}},
		{Name: "shim-v2", Dependencies: []string{
			"kernel", "rootfs-image", "rootfs-image-confidential", "rootfs-image-nvidia-gpu", "rootfs-image-nvidia-gpu-confidential", "rootfs-initrd-confidential",
		}},
	}
	for _, name := range strings.Fields(`agent busybox cloud-hypervisor cloud-hypervisor-glibc coco-guest-components
		firecracker kernel kernel-debug kernel-dragonball-experimental kernel-nvidia-gpu nydus ovmf ovmf-sev ovmf-tdx
		pause-image qemu qemu-snp-experimental qemu-tdx-experimental virtiofsd agent-ctl genpolicy kata-ctl`) {
		nodes = append(nodes, catalog.Asset{Name: name})
	}
	return nodes
}

// cases are graphs by the name of their golden files.
var cases = map[string][]catalog.Asset{
	"none":  {},
	"one":   {{Name: "kernel-debug"}},
	"three": {{Name: "rootfs-image", Dependencies: []string{"kernel", "agent", "agent"}}, {Name: "kernel"}, {Name: "agent"}},
	"kata":  kata(),
}

func TestGolden(t *testing.T) {
	for name, nodes := range cases {
		t.Run(name, func(t *testing.T) {
			g := build(t, nodes)
			slices.Reverse(nodes)
			again := build(t, nodes)
			for _, format := range []struct {
				ending     string
				got, again string
			}{{"mmd", g.Mermaid(), again.Mermaid()}, {"dot", g.DOT(), again.DOT()}} {
				if format.got != format.again {
					t.Errorf("%s depends on the order of the nodes", format.ending)
				}
				require.Golden(t, "testdata/"+name+"."+format.ending, format.got)
			}
		})
	}
}

func build(t *testing.T, assets []catalog.Asset) Graph {
	t.Helper()
	var names []string
	for i := range assets {
		assets[i].Arches = []catalog.Arch{catalog.X86_64}
		names = append(names, assets[i].Name)
	}
	closure, err := (&catalog.Catalog{Assets: assets}).Closure(names, catalog.X86_64)
	require.NoError(t, err)
	return New(closure)
}

func TestStages(t *testing.T) {
	g := build(t, kata())
	stages := map[string]int{}
	for i, node := range g {
		stages[node.Name] = node.Stage
		for _, dependency := range node.Dependencies {
			if !slices.ContainsFunc(g[:i], func(n Node) bool { return n.Name == dependency }) {
				t.Errorf("%s precedes its dependency %s", node.Name, dependency)
			}
			if stages[dependency] >= node.Stage {
				t.Errorf("%s has stage %d, its dependency %s has %d", node.Name, node.Stage, dependency, stages[dependency])
			}
		}
	}
	if stages["agent"] != 1 || stages["rootfs-image"] != 2 || stages["shim-v2"] != 3 {
		t.Errorf("stages are %v", stages)
	}
}

// TestSVG runs a dot that prints its arguments and its input, one that fails, and
// none.
func TestSVG(t *testing.T) {
	g := build(t, cases["three"])
	folder := t.TempDir()
	t.Setenv("PATH", folder)
	if _, err := g.SVG(t.Context()); err == nil || !strings.Contains(err.Error(), "`apt-get install graphviz`") {
		t.Errorf("without dot: %v, want the command that installs it", err)
	}
	for script, want := range map[string]string{
		"echo \"$@\"; while read -r line; do echo \"  $line\"; done": "-Tsvg\n  digraph assets {\n",
		"echo 'no fonts' >&2; exit 3":                                "running dot: exit status 3: no fonts",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "dot"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		got, err := g.SVG(t.Context())
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want it to begin with %q", script, got, want)
		}
	}
}
