package matrix

import (
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// TestRequire: every asset is run somewhere, and a check that needs root gets it; a
// program is not run on a machine of another kind.
func TestRequire(t *testing.T) {
	on := []catalog.Arch{catalog.X86_64, catalog.S390X}
	cross := catalog.Asset{}.Builder
	cross.Cross = map[catalog.Arch][]string{catalog.S390X: {}}
	// All common checks but one are off.
	off := catalog.Checks{Except: []catalog.Exception{{Checks: catalog.CommonChecks[1:], Reason: "a test"}}}
	runs := catalog.Checks{Runs: []catalog.Run{{File: "x"}}, Except: []catalog.Exception{{Checks: catalog.CommonChecks[1 : len(catalog.CommonChecks)-2], Reason: "a test"}}}
	assets := &catalog.Catalog{Assets: []catalog.Asset{
		{Name: "kernel", Arches: on, Kernel: &catalog.Kernel{}, Builder: cross, Checks: off},
		{Name: "nydus", Arches: on, Verify: "nydus", Builder: cross, Checks: runs},
		{Name: "ovmf", Arches: on, Verify: "ovmf", Checks: off},
		{Name: "plain", Arches: on, Budget: 1, Checks: runs},
		{Name: "qemu", Arches: on, Verify: "qemu", Checks: off},
		{Name: "virtiofsd", Arches: on, Verify: "virtiofsd", Builder: cross, Checks: runs},
	}}
	for arch, want := range map[catalog.Arch]map[string]Job{
		catalog.X86_64: {
			"kernel": {Require: "whole,boot"}, "nydus": {Require: "whole,runs,instances", Root: true}, "ovmf": {Require: "whole,boot"},
			"plain": {Require: "whole,size,runs"}, "qemu": {Require: "whole,version"},
			"virtiofsd": {Require: "whole,runs", Root: true},
		},
		catalog.S390X: {
			"kernel": {Require: "whole,boot"}, "nydus": {Require: "whole"}, "ovmf": {Require: "whole,boot"},
			"plain": {Require: "whole,size,runs"}, "qemu": {Require: "whole,version"},
			"virtiofsd": {Require: "whole"},
		},
	} {
		m, _, err := New(assets, recipe.Resolver{Versions: &versions.File{}}, Options{Arch: arch})
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
