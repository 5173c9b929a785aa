package release

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// assets returns a catalog with a set of qemu and a kernel, which has a secondary
// tarball and a dependency.
func assets() *catalog.Catalog {
	on := []catalog.Arch{catalog.X86_64}
	return &catalog.Catalog{
		Assets: []catalog.Asset{
			{Name: "agent", Arches: on}, {Name: "forgotten", Arches: on}, {Name: "genpolicy", Arches: on},
			{Name: "kernel", Arches: on, Outputs: []string{"modules"}, Dependencies: []string{"agent"}}, {Name: "qemu", Arches: on},
		},
		Sets: []catalog.Set{
			{Name: "kata-static", Components: map[catalog.Arch][]string{catalog.X86_64: {"qemu", "kernel"}}},
			{Name: "kata-tools", Components: map[catalog.Arch][]string{catalog.X86_64: {"genpolicy"}}},
		},
	}
}

func TestSetInFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"kata-static-qemu.tar.zst", "kata-static-kernel-modules.tar.zst", "kata-static-agent.tar.zst", "kata-static-genpolicy.tar.zst",
		"kata-static-forgotten.tar.zst", "kata-static-kernal.tar.zst", "kata-static.tar.zst", "kata-static-3.28.0-amd64.tar.zst",
		"kata-tools-static.tar.zst", "kata-static-old.tar.xz", ".kata-static.tar.zst.partial",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := assets()
	there, missing, err := setIn(dir, c, c.Sets[0], catalog.X86_64, true)
	if len(there) != 1 || there[0].Name != "qemu" || !slices.Equal(missing, []string{"kernel"}) {
		t.Errorf("components %v, missing %q", there, missing)
	}
	if err == nil || strings.Contains(err.Error(), "missing") || !strings.Contains(err.Error(), "extra") {
		t.Errorf("of a part: %v", err)
	}
	extra, err := extras(dir, c, catalog.X86_64)
	if err != nil || !slices.Equal(extra, []string{"forgotten", "kernal"}) {
		t.Errorf("extra: %q, %v", extra, err)
	}
	_, _, err = setIn(dir, c, c.Sets[0], catalog.X86_64, false)
	for _, want := range []string{
		"1 of 2 components are missing in " + dir, "build-asset kernel`", `missing: kata-static-kernel.tar.zst; did you mean "kernal"?`,
		"extra: " + dir + "/kata-static-forgotten.tar.zst belongs to no release set of x86_64",
		"extra: " + dir + "/kata-static-kernal.tar.zst belongs to no release set of x86_64",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kata-static-kernel.tar.zst"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range extra {
		if err := os.Remove(filepath.Join(dir, build.TarballName(name))); err != nil {
			t.Fatal(err)
		}
	}
	if there, _, err = setIn(dir, c, c.Sets[0], catalog.X86_64, false); err != nil {
		t.Fatalf("with all components: %v", err)
	}
	// The order is that of the set: it decides the bytes.
	if there[0].Name != "qemu" || there[1].Name != "kernel" {
		t.Errorf("order: %v", there)
	}
	if _, _, err := setIn(dir, c, c.Sets[0], catalog.S390X, false); err == nil || !strings.Contains(err.Error(), "has no assets on s390x, only on x86_64") {
		t.Errorf("on s390x: %v", err)
	}
	if _, missing, err = setIn(filepath.Join(dir, "none"), c, c.Sets[0], catalog.X86_64, true); err == nil || len(missing) != 2 {
		t.Errorf("no folder: %v, missing %q", err, missing)
	}
}

func TestFileNames(t *testing.T) {
	for got, want := range map[string]string{
		build.TarballName("qemu"):                               "kata-static-qemu.tar.zst",
		MergedFile("kata-static"):                               "kata-static.tar.zst",
		MergedFile("kata-tools"):                                "kata-tools-static.tar.zst",
		PublishedFile("kata-static", "3.28.0", catalog.X86_64):  "kata-static-3.28.0-amd64.tar.zst",
		PublishedFile("kata-tools", "3.28.0", catalog.AArch64):  "kata-tools-static-3.28.0-arm64.tar.zst",
		PublishedFile("kata-static", "3.28.0", catalog.PPC64LE): "kata-static-3.28.0-ppc64le.tar.zst",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
