package matrix

import (
	"slices"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
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

// TestAnybody: pull requests build what GitHub's own machines can build, and nothing else.
func TestAnybody(t *testing.T) {
	on := []catalog.Arch{catalog.AArch64, catalog.S390X}
	cross := catalog.Asset{}.Builder
	cross.Cross = map[catalog.Arch][]string{catalog.S390X: {}}
	assets := &catalog.Catalog{Assets: []catalog.Asset{
		{Name: "crossed", Arches: on, Builder: cross}, {Name: "native", Arches: on}, {Name: "user", Arches: on, Builder: cross, Dependencies: []string{"native"}},
	}}
	for arch, want := range map[catalog.Arch]struct{ built, left []string }{
		catalog.AArch64: {[]string{"crossed", "native", "user"}, nil},
		catalog.S390X:   {[]string{"crossed"}, []string{"native needs a machine ubuntu-24.04-s390x, which is not GitHub's", "user depends on native"}},
	} {
		m, left, err := New(assets, recipe.Resolver{Versions: &versions.File{}}, Options{Arch: arch, Anybody: true})
		require.NoError(t, err)
		var built []string
		for _, job := range m.Include {
			built = append(built, job.Asset)
		}
		if !slices.Equal(built, want.built) || !slices.Equal(left, want.left) {
			t.Errorf("%s: builds %q, leaves out %q; want %+v", arch, built, left, want)
		}
	}
}
