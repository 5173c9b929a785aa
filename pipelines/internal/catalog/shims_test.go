package catalog

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const goodShims = `base: example.org/base@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
shims:
  qemu:
    x86_64: [tiny-user, tiny]
    aarch64: [tiny]
  clh:
    x86_64: [tiny]
`

func loadShims(t *testing.T, yaml string) (*Shims, error) {
	t.Helper()
	files := tree(good)
	c, err := Load(files)
	require.NoError(t, err)
	files[ShimsFile] = &fstest.MapFile{Data: []byte(yaml)}
	return c.LoadShims(files)
}

func TestShims(t *testing.T) {
	shims, err := loadShims(t, goodShims)
	require.NoError(t, err)
	if got := needs(shims, X86_64); !slices.Equal(got, []string{"tiny", "tiny-user"}) {
		t.Errorf("x86_64 needs %q", got)
	}
	if err := shims.Check(X86_64, []string{"tiny", "tiny-user", "more"}); err != nil {
		t.Error(err)
	}
	if err := shims.Check(AArch64, []string{"tiny"}); err != nil {
		t.Error(err)
	}
	err = shims.Check(X86_64, []string{"tiny"})
	if err == nil || err.Error() != "assets/shims.yaml:3: shim qemu needs tiny-user on x86_64, which is not in the payload" {
		t.Errorf("without tiny-user: %v", err)
	}
	rest, dropped := shims.Without(X86_64, []string{"tiny"})
	if !slices.Equal(dropped, []string{"qemu"}) || rest.Check(X86_64, []string{"tiny"}) != nil || rest.Check(AArch64, nil) == nil || len(needs(shims, X86_64)) != 2 {
		t.Errorf("dropped %q, and has %+v", dropped, rest)
	}
	data, err := shims.JSON()
	require.NoError(t, err)
	require.Golden(t, "testdata/shim-components.json", data)
}

func TestShimsProblems(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"empty":        {goodShims, "", "shims.yaml: the file is empty"},
		"field":        {"shims:", "shim:", `shims.yaml:2: unknown field "shim"; did you mean "shims"?`},
		"no digest":    {"@sha256", "@md5", "shims.yaml:1: base "},
		"arch":         {"aarch64", "arm", `shims.yaml:5: unknown architecture "arm"`},
		"unknown":      {"tiny-user", "tiny-usr", `shims.yaml:4: unknown asset "tiny-usr"; did you mean "tiny-user"?`},
		"another arch": {"aarch64: [tiny]", "aarch64: [tiny-user]", "shims.yaml:5: tiny-user does not exist on aarch64"},
		"twice":        {"[tiny-user, tiny]", "[tiny, tiny]", "shims.yaml:4: duplicate asset tiny"},
		"nothing":      {"[tiny-user, tiny]", "[]", "shims.yaml:4: qemu has no assets on x86_64"},
		"no arch":      {"\n    x86_64: [tiny]\n", " {}\n", "shims.yaml:6: shim clh has no architecture"},
		"name":         {"clh", "Clh", `shims.yaml:6: shim "Clh": want lower-case`},
		"repeated":     {"clh", "qemu", "already defined"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(goodShims, c.from) {
				t.Fatalf("nothing to replace: %q", c.from)
			}
			if _, err := loadShims(t, strings.ReplaceAll(goodShims, c.from, c.to)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestShimsOfTheTree reads the real file.
func TestShimsOfTheTree(t *testing.T) {
	root := os.DirFS(filepath.Join("..", "..", ".."))
	c, err := Load(root)
	require.NoError(t, err)
	shims, err := c.LoadShims(root)
	require.NoError(t, err)
	for _, arch := range []Arch{X86_64, AArch64, S390X, PPC64LE} {
		if all := needs(shims, arch); !slices.Contains(all, "kernel") || !slices.Contains(all, "qemu") {
			t.Errorf("%s needs %q", arch, all)
		}
	}
	// A class that an installer sets up must be able to start a guest.
	for _, class := range shims.Classes {
		for arch, components := range class.Components {
			has := func(prefix string) bool {
				return slices.ContainsFunc(components, func(name string) bool { return strings.HasPrefix(name, prefix) })
			}
			needs := []string{"shim-v2"}
			if class.Name != "remote" { // Its guests run elsewhere.
				needs = append(needs, "kernel", "rootfs-")
			}
			if strings.HasPrefix(class.Name, "qemu") {
				needs = append(needs, "qemu")
			}
			if slices.ContainsFunc(needs, func(prefix string) bool { return !has(prefix) }) {
				t.Errorf("%s on %s has only %q: want a shim, a kernel, a root filesystem, and an emulator where the class names one", class.Name, arch, components)
			}
		}
	}
}

// needs returns the assets that the classes of an architecture need, sorted.
func needs(s *Shims, arch Arch) []string {
	var names []string
	for _, class := range s.Classes {
		names = append(names, class.Components[arch]...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
