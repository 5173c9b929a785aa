package matrix

import (
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// TestRequire: every asset is run somewhere, and a check that needs root gets it; a
// program is not run on a machine of another kind.
func TestRequire(t *testing.T) {
	on := []catalog.Arch{catalog.X86_64, catalog.S390X}
	cross := catalog.Asset{}.Builder
	cross.Cross = map[catalog.Arch][]string{catalog.S390X: {}}
	assets := &catalog.Catalog{Assets: []catalog.Asset{
		{Name: "kernel", Arches: on, Kernel: &catalog.Kernel{}, Builder: cross},
		{Name: "nydus", Arches: on, Verify: "nydus", Builder: cross},
		{Name: "ovmf", Arches: on, Verify: "ovmf"},
		{Name: "qemu", Arches: on, Verify: "qemu"},
	}}
	for arch, want := range map[catalog.Arch]map[string]Job{
		catalog.X86_64: {"kernel": {Require: "boot"}, "nydus": {Require: "instances", Root: true}, "ovmf": {Require: "boot"}, "qemu": {Require: "version"}},
		catalog.S390X:  {"kernel": {Require: "boot"}, "nydus": {}, "ovmf": {Require: "boot"}, "qemu": {Require: "version"}},
	} {
		m, _, err := New(assets, &versions.File{}, Options{Arch: arch})
		if err != nil || len(m.Include) != len(want) {
			t.Fatal(m, err)
		}
		for _, job := range m.Include {
			if want := want[job.Asset]; job.Require != want.Require || job.Root != want.Root {
				t.Errorf("%s on %s: %q, root %v", job.Asset, arch, job.Require, job.Root)
			}
		}
	}
}
