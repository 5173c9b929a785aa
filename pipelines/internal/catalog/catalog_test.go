package catalog

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// good is a family that the cases below break in one place each.
const good = `family: tiny
builder:
  distribution: debian
  suite: trixie
  image: debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  epoch: 1
  packages: [gcc, make]
steps:
  - name: build
    script: build.sh
assets:
  - name: tiny
    description: a tiny thing
    arches: [x86_64, aarch64]
    pins: {VERSION: assets.tiny.version}
    options: {COLOUR: red}
    files: [data]
  - name: tiny-user
    description: needs the tiny thing
    arches: [x86_64]
    dependencies: [tiny]
    kernel: {configs: [common], suffix: user, version: V}
    pins: {V: assets.tiny.version}
  - name: tiny-import
    description: what others made
    arches: [x86_64, aarch64]
    pins: {TINY: assets.tiny.version}
    import:
      source: assets.tiny.tiny-${ARCH}
      members:
        v${TINY}/tiny: opt/kata/bin/tiny-${GOARCH}
        share/**: opt/kata/share/
      modes: {"opt/kata/bin/tiny-${GOARCH}": 0755}
`

func tree(yaml string) fstest.MapFS {
	return fstest.MapFS{
		"assets/tiny/assets.yaml":      {Data: []byte(yaml)},
		"assets/tiny/build.sh":         {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
		"assets/tiny/data/file":        {Data: []byte("data\n")},
		"kernel-configs/common/a.conf": {Data: []byte("CONFIG_A=y\n")},
	}
}

func TestLoad(t *testing.T) {
	c, err := Load(tree(good))
	require.NoError(t, err)
	if got := strings.Join(c.Names(), " "); got != "tiny tiny-import tiny-user" {
		t.Errorf("names = %q", got)
	}
	a, err := c.Find("tiny-user", X86_64)
	require.NoError(t, err)
	if a.Pos != "assets/tiny/assets.yaml:18" || a.Folder != "assets/tiny" || a.ScriptPath(a.Steps[0]) != "assets/tiny/build.sh" {
		t.Errorf("asset = %+v", a)
	}
	closure, err := c.Closure([]string{"tiny-user", "tiny"}, X86_64)
	require.NoError(t, err)
	var names []string
	for _, a := range closure {
		names = append(names, a.Name)
	}
	if got := strings.Join(names, " "); got != "tiny tiny-user" {
		t.Errorf("closure = %q, want dependencies first and each once", got)
	}
}

func TestDependents(t *testing.T) {
	c, err := Load(tree(good))
	require.NoError(t, err)
	for _, test := range []struct {
		name string
		arch Arch
		want string
	}{{"tiny", X86_64, "tiny-user"}, {"tiny", AArch64, ""}, {"tiny-user", X86_64, ""}} {
		if got := strings.Join(c.Dependents(test.name, test.arch), " "); got != test.want {
			t.Errorf("on %s %q depends on %s, want %q", test.arch, got, test.name, test.want)
		}
	}
}

// Paths of pins and sources may name the architecture.
func TestFindOnArchitecture(t *testing.T) {
	c := &Catalog{Assets: []Asset{{
		Name: "ovmf", Arches: []Arch{X86_64, AArch64},
		Pins: map[string]string{"VERSION": "ovmf.${KERNEL_ARCH}.version"}, Sources: map[string]string{"edk2": "ovmf.${ARCH}.edk2"},
	}}}
	for arch, want := range map[Arch][2]string{
		X86_64:  {"ovmf.x86_64.version", "ovmf.x86_64.edk2"},
		AArch64: {"ovmf.arm64.version", "ovmf.aarch64.edk2"},
	} {
		asset, err := c.Find("ovmf", arch)
		if got := [2]string{asset.Pins["VERSION"], asset.Sources["edk2"]}; err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", arch, got, err, want)
		}
	}
}

func TestFindErrors(t *testing.T) {
	c, err := Load(tree(good))
	require.NoError(t, err)
	for _, test := range []struct {
		name string
		arch Arch
		want string
	}{
		{"tiny-usr", X86_64, `unknown asset "tiny-usr"; did you mean "tiny-user"? (` + "`list` prints all assets)"},
		{"tiny-user", AArch64, "tiny-user does not exist on aarch64: assets/tiny/assets.yaml:18 declares it for x86_64"},
	} {
		if _, err := c.Find(test.name, test.arch); err == nil || err.Error() != test.want {
			t.Errorf("Find(%s, %s) = %v, want %s", test.name, test.arch, err, test.want)
		}
	}
}

// bad breaks the good family: the first string is replaced by the second.
var bad = map[string][2]string{
	"unknown-field":            {"packages: [gcc, make]", "packages: [gcc, make]\n  colour: red"},
	"duplicate-key":            {"  suite: trixie", "  suite: trixie\n  suite: sid"},
	"not-a-list":               {"arches: [x86_64]", "arches: {x86_64: yes}"},
	"syntax":                   {"steps:", "steps: ]"},
	"second-document":          {"family: tiny", "family: tiny\n---\nfamily: more"},
	"wrong-folder":             {"family: tiny", "family: huge"},
	"distribution":             {"distribution: debian", "distribution: gentoo"},
	"image-by-tag":             {"debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132", "debian:trixie-slim"},
	"no-suite":                 {"  suite: trixie\n", ""},
	"epoch":                    {"epoch: 1", "epoch: 0"},
	"package-twice":            {"[gcc, make]", "[gcc, gcc]"},
	"package-name":             {"[gcc, make]", "[gcc, --force]"},
	"package-of-two-suites":    {"[gcc, make]", "[gcc, make, gcc/trixie-backports]"},
	"package-suite":            {"[gcc, make]", "[gcc/../sid, make]"},
	"no-steps":                 {"steps:\n  - name: build\n    script: build.sh\n", ""},
	"missing-script":           {"script: build.sh", "script: bulid.sh"},
	"script-outside":           {"script: build.sh", "script: ../tiny/build.sh"},
	"asset-name":               {"- name: tiny\n", "- name: Tiny_1\n"},
	"asset-reserved":           {"- name: tiny-user", "- name: builder"},
	"asset-twice":              {"- name: tiny-user", "- name: tiny"},
	"no-description":           {"    description: a tiny thing\n", ""},
	"no-arches":                {"    arches: [x86_64]\n", ""},
	"unknown-arch":             {"arches: [x86_64]", "arches: [x86-64]"},
	"go-arch":                  {"arches: [x86_64]", "arches: [amd64]"},
	"lower-case-variable":      {"{COLOUR: red}", "{colour: red}"},
	"reserved-variable":        {"{COLOUR: red}", "{DESTDIR: /}"},
	"pin-and-option":           {"{COLOUR: red}", "{VERSION: red}"},
	"missing-file":             {"files: [data]", "files: [dota]"},
	"unknown-dependency":       {"dependencies: [tiny]", "dependencies: [tinny]"},
	"circular-dependency":      {"files: [data]", "files: [data]\n    dependencies: [tiny-user]"},
	"dependency-of-other-arch": {"description: needs the tiny thing\n    arches: [x86_64]", "description: needs the tiny thing\n    arches: [s390x]"},
	"dependency-on-other-arch": {"files: [data]", "arch_dependencies: {s390x: [tiny-import]}"},
	"unknown-arch-dependency":  {"files: [data]", "arch_dependencies: {x86_64: [tinny]}"},
	"circular-arch-dependency": {"files: [data]", "arch_dependencies: {x86_64: [tiny-user]}"},
	"unknown-config-folder":    {"configs: [common]", "configs: [commen]"},
	"no-config-folders":        {"configs: [common]", "configs: []"},
	"kernel-version":           {"version: V}", "version: W}"},
	"negative-disk":            {"files: [data]", "disk: -1"},
	"program-path":             {"files: [data]", "program: agent"},
	"import-and-steps":         {"pins: {TINY: assets.tiny.version}", "pins: {TINY: assets.tiny.version}\n    files: [data]\n    dependencies: [tiny]"},
	"root-without-a-pin":       {"options: {COLOUR: red}", "root: {distribution: OS, release: VERSION, parts: [base, base]}"},
	"root-without-parts":       {"options: {COLOUR: red}", "root: {distribution: VERSION, release: VERSION}"},
	"root-of-an-import":        {"pins: {TINY: assets.tiny.version}", "pins: {TINY: assets.tiny.version}\n    root: {distribution: TINY, release: TINY, parts: [base]}"},
	"import-without-source":    {"      source: assets.tiny.tiny-${ARCH}\n", ""},
	"import-without-members":   {"      members:\n        v${TINY}/tiny: opt/kata/bin/tiny-${GOARCH}\n        share/**: opt/kata/share/\n", ""},
	"import-variable":          {"v${TINY}/tiny", "v${TINI}/tiny"},
	"import-source-variable":   {"tiny-${ARCH}", "tiny-${TINY}"},
	"import-absolute":          {"v${TINY}/tiny", "/v1/tiny"},
	"import-above":             {"v${TINY}/tiny", "../v1/tiny"},
	"import-pattern":           {"share/**", "share/[a"},
	"import-at-the-root":       {"opt/kata/share/", "kata"},
	"import-outside":           {"opt/kata/share/", "opt/kata/../etc/"},
	"import-folder":            {"share/**: opt/kata/share/", "share/: opt/kata/share"},
	"import-same-path":         {"share/**: opt/kata/share/", "other: opt/kata/bin/tiny-${GOARCH}"},
	"import-below-a-file":      {"share/**: opt/kata/share/", "share/**: opt/kata/bin/tiny-${GOARCH}/"},
	"import-program-and-more":  {"share/**: opt/kata/share/", ".: opt/kata/share/a"},
	"import-to-a-pattern":      {"share/**: opt/kata/share/", "other: opt/kata/share/*"},
	"import-to-control":        {"share/**: opt/kata/share/", `other: "opt/kata/share/a\nb"`},
	"import-mode":              {"0755}", "4755}"},
	"import-mode-of-nothing":   {"modes: {\"opt/kata/bin/tiny-${GOARCH}\"", "modes: {\"opt/kata/bin/tinny\""},
	"only-imports-and-steps":   {good[strings.Index(good, "  - name: tiny\n"):strings.Index(good, "  - name: tiny-import\n")], ""},
	"output-name":              {"files: [data]", "outputs: [../modules]"},
	"output-twice":             {"files: [data]", "outputs: [modules, modules]"},
	"output-of-asset":          {"files: [data]", "outputs: [user]"},
	"image-filesystem":         {"files: [data]", "images: {opt/a.image: {filesystem: xfs}}"},
	"image-path":               {"files: [data]", "images: {/opt/a.img: {filesystem: ext4}}"},
	"image-variable":           {"files: [data]", "images: {\"opt/a-${OS}.image\": {filesystem: ext4}}"},
	"image-variant":            {"files: [data]", "images: {opt/a.image: {filesystem: ext4, variant: ../a}}"},
	"image-without-variant":    {"files: [data]", "images: {opt/a.image: {filesystem: ext4, measured: true}}"},
	"images-of-one-variant":    {"files: [data]", "images: {opt/a.image: {filesystem: ext4}, opt/b.image: {filesystem: erofs}}"},
	"image-budget":             {"files: [data]", "images: {opt/a.image: {filesystem: ext4, budget: 3}}"},
	"image-of-import":          {"description: what others made", "description: what others made\n    images: {opt/a.image: {filesystem: ext4}}"},
	"secret-without-file":      {"files: [data]", "secrets: {PIN: sign.crt}"},
	"secret-outside":           {"files: [data]", "secrets: {PIN: /etc/passwd}"},
	"secret-and-option":        {"{COLOUR: red}", "{COLOUR: red}\n    secrets: {COLOUR: data/a}"},
	"package-of-asset":         {"files: [data]", "packages: [make]"},
	"steps-of-asset":           {"files: [data]", "steps: [{name: build, script: built.sh}]"},
	"step-with-files":          {"script: build.sh", "script: build.sh\n    files: [data]"},
	"step-alone-with-config":   {"script: build.sh", "script: build.sh\n    alone: true\n    config: /build/.config"},
	"step-alone-too-late":      {"script: build.sh\n", "script: build.sh\n  - {name: unpack, script: build.sh, alone: true, files: [../data]}\n"},
	"extends-unknown":          {"{COLOUR: red}", "{EXTENSION: coco}\n    extends: tina"},
	"extends-without-a-name":   {"dependencies: [tiny]", "dependencies: [tiny]\n    extends: tiny"},
	"verify-unknown":           {"files: [data]", "verify: qemo"},
	"verify-of-kernel":         {"dependencies: [tiny]", "dependencies: [tiny]\n    verify: qemu"},
	"cross-arch":               {"packages: [gcc, make]", "packages: [gcc, make]\n  cross: {arm64: [gcc-aarch64-linux-gnu]}"},
	"cross-package-twice":      {"packages: [gcc, make]", "packages: [gcc, make]\n  cross: {aarch64: [gcc]}"},
	"configs-of-other-arch":    {"configs: [common]", "configs: [common], arch_configs: {s390x: [common]}"},
	"secret-reserved":          {"files: [data]", "secrets: {PATH: data/a}"},
}

func TestLoadErrors(t *testing.T) {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		broken := strings.Replace(good, bad[name][0], bad[name][1], 1)
		if broken == good {
			t.Errorf("%s changes nothing", name)
		}
		_, err := Load(tree(broken))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		out.WriteString("# " + name + "\n" + err.Error() + "\n\n")
	}
	require.Golden(t, "testdata/errors.golden", out.String())
}

func TestLoadOfNothing(t *testing.T) {
	for name, tree := range map[string]fs.FS{
		"no assets.yaml":  fstest.MapFS{},
		"an empty file":   fstest.MapFS{"assets/tiny/assets.yaml": {}},
		"only a comment":  fstest.MapFS{"assets/tiny/assets.yaml": {Data: []byte("# nothing\n")}},
		"not a mapping":   fstest.MapFS{"assets/tiny/assets.yaml": {Data: []byte("- a\n")}},
		"unreadable yaml": fstest.MapFS{"assets/tiny/assets.yaml": {Mode: fs.ModeDir | 0o755}},
	} {
		if c, err := Load(tree); err == nil {
			t.Errorf("%s: loaded %+v", name, c)
		}
	}
}

// TestRepository loads the repository of this test.
func TestRepository(t *testing.T) {
	c, err := Load(os.DirFS("../../.."))
	require.NoError(t, err)
	if _, err := c.Find("kernel-debug", X86_64); err != nil {
		t.Error(err)
	}
}

func TestParseArch(t *testing.T) {
	for name, want := range map[string]Arch{"x86_64": X86_64, "amd64": X86_64, "arm64": AArch64, "ppc64le": PPC64LE} {
		if got, err := ParseArch(name); err != nil || got != want {
			t.Errorf("ParseArch(%s) = %s, %v", name, got, err)
		}
	}
	want := `unknown architecture "x8664": want one of x86_64, aarch64, s390x, ppc64le, riscv64; did you mean "x86_64"?`
	if _, err := ParseArch("x8664"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := AArch64.Kernel() + AArch64.GoArch() + PPC64LE.Debian(); got != "arm64arm64ppc64el" {
		t.Errorf("names = %s", got)
	}
}

// FuzzLoad looks for a catalog that passes the checks and that something cannot be
// found in, and for an error without a file.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(good), []byte("kata-static:\n  x86_64: [tiny]\n"))
	f.Add([]byte("family: tiny\nassets: [&a {name: a, dependencies: [a]}, *a]\n"), []byte("{}"))
	f.Fuzz(func(t *testing.T, family, sets []byte) {
		files := tree(string(family))
		files[SetsFile] = &fstest.MapFile{Data: sets}
		c, err := Load(files)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "assets/") {
				t.Errorf("no file: %v", err)
			}
			return
		}
		for _, arch := range Arches() {
			if _, err := c.Closure(c.On(arch), arch); err != nil {
				t.Error(err)
			}
			for _, set := range c.Sets {
				if names, err := set.On(arch); err == nil {
					if _, err := c.Closure(names, arch); err != nil {
						t.Error(err)
					}
				}
			}
		}
	})
}
