package recipe

import (
	"encoding/pem"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const pins = `assets:
  description: "things"
  linux:
    description: "a kernel"
    url: "https://example.org/linux"
    version: "v6.18.15"
`

const sources = `assets.linux:
  "v6.18.15": &sources
    linux:
      - name: "upstream"
        url: "https://example.org/linux.tar.xz"
        sha256: "1111111111111111111111111111111111111111111111111111111111111111"
      - name: "debian"
        debian: {package: "linux", version: "6.18.15-1", suite: "trixie", file: "linux.orig.tar.xz"}
        sha256: "2222222222222222222222222222222222222222222222222222222222222222"
    other:
      - name: "upstream"
        url: "https://example.org/other.tar.xz"
        sha256: "1111111111111111111111111111111111111111111111111111111111111111"
  "v6.18.16": *sources
`

const assets = `family: kernel
builder:
  distribution: debian
  suite: trixie
  image: debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  epoch: 1
  packages: [gcc, make]
  cross: {x86_64: [gcc-x86-64-linux-gnu], aarch64: [gcc-aarch64-linux-gnu]}
steps:
  - {name: unpack, script: build.sh, alone: true, files: [patches.d]}
  - name: configure
    script: configure.sh
    config: /build/.config
  - name: build
    script: build.sh
assets:
  - name: dep
    description: a dependency
    arches: [x86_64, aarch64]
  - name: kernel
    description: a kernel
    arches: [x86_64, aarch64]
    pins: {KERNEL_VERSION: assets.linux.version, MORE: assets.linux.version}
    sources: {linux: assets.linux.linux}
    options: {COLOUR: red}
    files: [patches]
    dependencies: [dep]
    outputs: [modules]
    images:
      opt/kata/${KERNEL_VERSION}.image: {filesystem: erofs, variant: tiny}
      opt/kata/main.image: {filesystem: ext4, budget: 1 MiB}
    secrets: {SIGN_PIN: sign.crt}
    kernel: {configs: [common, debug], suffix: debug, version: KERNEL_VERSION}
`

func files() fstest.MapFS {
	return fstest.MapFS{
		"versions.yaml":                      {Data: []byte(pins)},
		"assets/sources.yaml":                {Data: []byte(sources)},
		"assets/kernel/assets.yaml":          {Data: []byte(assets)},
		"assets/kernel/configure.sh":         {Data: []byte("#!/bin/sh\nconfigure\n")},
		"assets/kernel/build.sh":             {Data: []byte("#!/bin/sh\nbuild\n")},
		"assets/kernel/patches/1.patch":      {Data: []byte("patch\n")},
		"assets/kernel/unread":               {Data: []byte("unread\n")},
		"assets/kernel/sign.crt":             {Data: certificate("one")},
		"kernel-configs/common/a.conf":       {Data: []byte("CONFIG_A=y\n")},
		"kernel-configs/debug/b.conf":        {Data: []byte("CONFIG_B=y\n")},
		"kernel-configs/x86_64/c.conf":       {Data: []byte("CONFIG_C=y\n")},
		"kernel-configs/arm64/c.conf":        {Data: []byte("CONFIG_D=y\n")},
		"kernel-configs/exceptions.yaml":     {Data: []byte("exceptions: []\n")},
		"kernel-configs/kata_config_version": {Data: []byte("188\n")},
	}
}

// certificate is a PEM block with arbitrary content.
func certificate(content string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(content)})
}

// input is what decides on a key.
type input struct {
	tree    fstest.MapFS
	asset   string
	arch    catalog.Arch
	digests map[string]Digests
}

func start() input {
	return input{files(), "kernel", catalog.X86_64, map[string]Digests{"dep": {Tarball: "sha256:aa", Outputs: map[string]string{"modules": "sha256:cc"}}}}
}

func (in input) plan(t *testing.T) Plan {
	t.Helper()
	plan, err := in.resolve(t)
	require.NoError(t, err)
	return plan
}

func (in input) resolve(t *testing.T) (Plan, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "versions.yaml")
	require.NoError(t, os.WriteFile(file, in.tree["versions.yaml"].Data, 0o644))
	resolver, asset := in.load(t, NewTree(in.tree), file)
	return resolver.Resolve(asset, in.arch, in.digests)
}

// from is plan for a tree that is elsewhere.
func (in input) from(t *testing.T, tree *Tree, file string) Plan {
	t.Helper()
	resolver, asset := in.load(t, tree, file)
	plan, err := resolver.Resolve(asset, in.arch, in.digests)
	require.NoError(t, err)
	return plan
}

func (in input) load(t *testing.T, tree *Tree, file string) (Resolver, catalog.Asset) {
	t.Helper()
	c, err := catalog.Load(tree)
	require.NoError(t, err)
	v, err := versions.Load(file, tree)
	require.NoError(t, err)
	asset, err := c.Find(in.asset, in.arch)
	require.NoError(t, err)
	return Resolver{Versions: v, Tree: tree}, asset
}

// edit replaces a string in a file, which must be there.
func (in input) edit(file, old, text string) {
	before := string(in.tree[file].Data)
	after := strings.Replace(before, old, text, 1)
	if before == after {
		panic(file + " does not hold " + old)
	}
	in.tree[file] = &fstest.MapFile{Data: []byte(after), Mode: in.tree[file].Mode}
}

// fixed is some time in the past.
var fixed = time.Unix(1, 0)

const declared = "assets/kernel/assets.yaml"

func TestNothingElseChangesTheKey(t *testing.T) {
	changes := map[string]func(in *input){
		"an unread file":                         func(in *input) { in.edit("assets/kernel/unread", "unread", "whatever") },
		"time stamps":                            func(in *input) { in.tree["assets/kernel/build.sh"].ModTime = fixed },
		"bits of the umask":                      func(in *input) { in.tree["assets/kernel/build.sh"].Mode = 0o700 },
		"a file system without modes":            func(in *input) { in.tree["assets/kernel/patches/1.patch"].Mode = 0o777 },
		"comments in YAML":                       func(in *input) { in.edit(declared, "steps:", "# Steps.\nsteps:") },
		"cross packages of another architecture": func(in *input) { in.edit(declared, "gcc-aarch64", "clang-aarch64") },
		"a cache of ccache":                      func(in *input) { in.edit(declared, "  epoch: 1", "  epoch: 1\n  ccache: true") },
		"order in YAML":                          func(in *input) { in.edit(declared, "[gcc, make]", "[make, gcc]") },
		"a description":                          func(in *input) { in.edit(declared, "a kernel", "the kernel") },
		"the disk": func(in *input) {
			in.edit(declared, "suffix: debug, version: KERNEL_VERSION}", "suffix: debug, version: KERNEL_VERSION}\n    disk: 3")
		},
		"an address of a source": func(in *input) {
			in.edit("assets/sources.yaml", "example.org/linux.tar.xz", "example.net/linux.tar.xz")
		},
		"another architecture": func(in *input) { in.edit("kernel-configs/arm64/c.conf", "=y", "=m") },
		"what Kata pins": func(in *input) {
			in.edit("versions.yaml", "v6.18.15\"", "v6.18.15\"\n    differs: {version: \"v6.18.14\"}")
		},
		"a source that this version does not have": func(in *input) {
			in.edit("assets/sources.yaml", "    linux:", "    firmware: []\n    linux:")
			in.edit(declared, "{linux: ", "{firmware: assets.linux.firmware, linux: ")
		},
	}
	want := start().plan(t).Key
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		in := start()
		changes[name](&in)
		if got := in.plan(t).Key; got != want {
			t.Errorf("a change of %s changes the key", name)
		}
	}
}

func TestCanonical(t *testing.T) {
	data, err := start().plan(t).Recipe.Canonical()
	require.NoError(t, err)
	// A difference here changes every key: raise Schema if the meaning changed.
	require.Golden(t, "testdata/recipe.golden.json", string(data))
}

func TestRead(t *testing.T) {
	want := "assets/kernel/assets.yaml assets/kernel/build.sh assets/kernel/configure.sh assets/kernel/patches/1.patch " +
		"assets/kernel/sign.crt assets/sources.yaml kernel-configs/common/a.conf kernel-configs/debug/b.conf kernel-configs/exceptions.yaml " +
		"kernel-configs/kata_config_version kernel-configs/x86_64/c.conf versions.yaml"
	if got := strings.Join(start().plan(t).Read, " "); got != want {
		t.Errorf("read are %s", got)
	}
}

// The lock that a place names is read too, and must exist.
func TestReadLockOfPlace(t *testing.T) {
	in := start()
	in.edit("assets/sources.yaml", `debian: {package: "linux", version: "6.18.15-1", suite: "trixie", file: "linux.orig.tar.xz"}`, `cargo: {lock: "assets/kernel/Cargo.lock"}`)
	const want = `assets/sources.yaml:7: the lock of the place "debian": open assets/kernel/Cargo.lock: file does not exist; add the file, or correct its path`
	if _, err := in.resolve(t); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	in.tree["assets/kernel/Cargo.lock"] = &fstest.MapFile{}
	if read := in.plan(t).Read; !slices.Contains(read, "assets/kernel/Cargo.lock") {
		t.Errorf("read are %s", read)
	}
}

func TestPlanHoldsTheBytesOfItsFiles(t *testing.T) {
	plan := start().plan(t)
	if len(plan.Files) != len(plan.Recipe.Files) {
		t.Fatalf("%d contents for %d files", len(plan.Files), len(plan.Recipe.Files))
	}
	for i, content := range plan.Files {
		if content.File != plan.Recipe.Files[i] || NewContent(content.Path, content.Data).File != content.File {
			t.Errorf("file %d is %+v, its content %+v", i, plan.Recipe.Files[i], content.File)
		}
	}
}

// TestMode: what begins as a program is executable, whatever the checkout says.
func TestMode(t *testing.T) {
	for data, want := range map[string]string{"#!/bin/sh\n": "0755", "\x7fELF\x02\x01": "0755", "patch": "0644", "": "0644"} {
		if got := NewContent("file", []byte(data)).Mode; got != want {
			t.Errorf("%q has mode %s, want %s", data, got, want)
		}
	}
}

// counting is a test double of a file system that counts how often the content
// of each file is read.
type counting struct {
	fs.FS
	read map[string]int
}

func (c counting) Open(name string) (fs.File, error) {
	file, err := c.FS.Open(name)
	return counted{file, func() { c.read[name]++ }}, err
}

type counted struct {
	fs.File
	count func()
}

func (c counted) ReadDir(n int) ([]fs.DirEntry, error) {
	return c.File.(fs.ReadDirFile).ReadDir(n)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	if n > 0 {
		c.count()
	}
	return n, err
}

func TestResolveErrors(t *testing.T) {
	for name, test := range map[string]struct {
		change func(in *input)
		want   string
	}{
		"pending":        {func(in *input) { in.digests = nil }, "the key of kernel is pending: its dependency dep is not built"},
		"unknown pin":    {func(in *input) { in.edit(declared, "assets.linux.version", "assets.linux.verson") }, "assets.linux.verson"},
		"no certificate": {func(in *input) { in.edit("assets/kernel/sign.crt", "CERTIFICATE", "PRIVATE KEY") }, "assets/kernel/sign.crt, the certificate of the secret SIGN_PIN, is not a PEM certificate"},
		"clash":          {func(in *input) { in.edit("kernel-configs/debug/b.conf", "CONFIG_B=y", "CONFIG_A=m") }, "kernel-configs/debug/b.conf:1"},
		"bad version":    {func(in *input) { in.edit("kernel-configs/kata_config_version", "188", "many") }, "kata_config_version"},
		"empty folder":   {func(in *input) { delete(in.tree, "kernel-configs/x86_64/c.conf") }, "x86_64"},
	} {
		in := start()
		test.change(&in)
		_, err := in.resolve(t)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), declared+":") {
			t.Errorf("%s: got %v, want it to name %s", name, err, test.want)
		}
	}
}
