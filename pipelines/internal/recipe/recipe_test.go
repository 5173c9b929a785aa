package recipe

import (
	"flag"
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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

var update = flag.Bool("update", false, "write the golden files")

const pins = `assets:
  description: "things"
  linux:
    description: "a kernel"
    url: "https://example.org/linux"
    version: "v6.18.15"
    sources:
      linux:
        - name: "upstream"
          url: "https://example.org/linux.tar.xz"
          sha256: "1111111111111111111111111111111111111111111111111111111111111111"
        - name: "debian"
          debian: {package: "linux", version: "6.18.15-1", suite: "trixie", file: "linux.orig.tar.xz"}
          sha256: "2222222222222222222222222222222222222222222222222222222222222222"
`

const assets = `family: kernel
builder:
  distribution: debian
  suite: trixie
  image: debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  epoch: 1
  packages: [gcc, make]
steps:
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
    pins: {KERNEL_VERSION: assets.linux.version}
    sources: {linux: assets.linux.linux}
    options: {COLOUR: red}
    files: [patches]
    dependencies: [dep]
    kernel: {configs: [common, debug], suffix: debug, version: KERNEL_VERSION}
`

func files() fstest.MapFS {
	return fstest.MapFS{
		"versions.yaml":                      {Data: []byte(pins)},
		"assets/kernel/assets.yaml":          {Data: []byte(assets)},
		"assets/kernel/configure.sh":         {Data: []byte("configure\n"), Mode: 0o755},
		"assets/kernel/build.sh":             {Data: []byte("build\n"), Mode: 0o755},
		"assets/kernel/patches/1.patch":      {Data: []byte("patch\n")},
		"assets/kernel/unread":               {Data: []byte("unread\n")},
		"kernel-configs/common/a.conf":       {Data: []byte("CONFIG_A=y\n")},
		"kernel-configs/debug/b.conf":        {Data: []byte("CONFIG_B=y\n")},
		"kernel-configs/x86_64/c.conf":       {Data: []byte("CONFIG_C=y\n")},
		"kernel-configs/arm64/c.conf":        {Data: []byte("CONFIG_D=y\n")},
		"kernel-configs/exceptions.yaml":     {Data: []byte("exceptions: []\n")},
		"kernel-configs/kata_config_version": {Data: []byte("188\n")},
	}
}

// input is what decides on a key.
type input struct {
	tree    fstest.MapFS
	asset   string
	arch    catalog.Arch
	digests map[string]string
}

func start() input {
	return input{files(), "kernel", catalog.X86_64, map[string]string{"dep": "sha256:aa"}}
}

func (in input) plan(t *testing.T) Plan {
	t.Helper()
	plan, err := in.resolve(t)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func (in input) resolve(t *testing.T) (Plan, error) {
	t.Helper()
	c, err := catalog.Load(in.tree)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "versions.yaml")
	if err := os.WriteFile(file, in.tree["versions.yaml"].Data, 0o644); err != nil {
		t.Fatal(err)
	}
	v, _, err := versions.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	asset, err := c.Find(in.asset, in.arch)
	if err != nil {
		t.Fatal(err)
	}
	return Resolver{Versions: v, Tree: NewTree(in.tree)}.Resolve(asset, in.arch, in.digests)
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

const declared = "assets/kernel/assets.yaml"

func TestEveryInputChangesTheKey(t *testing.T) {
	changes := map[string]func(in *input){
		"content of a script": func(in *input) { in.edit("assets/kernel/build.sh", "build", "rebuild") },
		"mode of a file":      func(in *input) { in.tree["assets/kernel/patches/1.patch"].Mode = 0o755 },
		"name of a file": func(in *input) {
			in.tree["assets/kernel/patches/2.patch"] = in.tree["assets/kernel/patches/1.patch"]
			delete(in.tree, "assets/kernel/patches/1.patch")
		},
		"another file":          func(in *input) { in.tree["assets/kernel/patches/2.patch"] = &fstest.MapFile{Data: []byte("more")} },
		"comment of a fragment": func(in *input) { in.edit("kernel-configs/debug/b.conf", "CONFIG", "# why\nCONFIG") },
		"option of a fragment":  func(in *input) { in.edit("kernel-configs/x86_64/c.conf", "=y", "=m") },
		"config version":        func(in *input) { in.edit("kernel-configs/kata_config_version", "188", "189") },
		"folders of a kernel":   func(in *input) { in.edit(declared, "[common, debug]", "[common]") },
		"suffix of a kernel":    func(in *input) { in.edit(declared, "suffix: debug", "suffix: other") },
		"an exception": func(in *input) {
			in.edit("kernel-configs/exceptions.yaml", "[]", "[{option: CONFIG_A, reason: because it is so}]")
		},
		"a pin":                 func(in *input) { in.edit("versions.yaml", "v6.18.15", "v6.18.16") },
		"an option":             func(in *input) { in.edit(declared, "red", "blue") },
		"name of an option":     func(in *input) { in.edit(declared, "COLOUR", "COLOR") },
		"hash of a source":      func(in *input) { in.edit("versions.yaml", "1111", "3333") },
		"hash of another place": func(in *input) { in.edit("versions.yaml", "2222", "3333") },
		"suite":                 func(in *input) { in.edit(declared, "suite: trixie", "suite: forky") },
		"image":                 func(in *input) { in.edit(declared, "sha256:d7", "sha256:d8") },
		"a package":             func(in *input) { in.edit(declared, "gcc", "clang") },
		"epoch":                 func(in *input) { in.edit(declared, "epoch: 1", "epoch: 2") },
		"order of steps": func(in *input) {
			in.edit(declared, "  - name: build\n    script: build.sh\n", "")
			in.edit(declared, "steps:\n", "steps:\n  - name: build\n    script: build.sh\n")
		},
		"name of a step":    func(in *input) { in.edit(declared, "name: build", "name: compile") },
		"place of a config": func(in *input) { in.edit(declared, "/build/.config", "/build/config") },
		"arch":              func(in *input) { in.arch = catalog.AArch64 },
		"asset":             func(in *input) { in.asset = "dep" },
		"dependency":        func(in *input) { in.digests["dep"] = "sha256:bb" },
	}
	seen := map[string]string{start().plan(t).Key: "nothing"}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		in := start()
		changes[name](&in)
		key := in.plan(t).Key
		if other, ok := seen[key]; ok {
			t.Errorf("a change of the %s gives the key of %s", name, other)
		}
		seen[key] = name
	}
}

func TestNothingElseChangesTheKey(t *testing.T) {
	changes := map[string]func(in *input){
		"an unread file":    func(in *input) { in.edit("assets/kernel/unread", "unread", "whatever") },
		"time stamps":       func(in *input) { in.tree["assets/kernel/build.sh"].ModTime = time.Unix(1, 0) },
		"bits of the umask": func(in *input) { in.tree["assets/kernel/build.sh"].Mode = 0o700 },
		"comments in YAML":  func(in *input) { in.edit(declared, "steps:", "# Steps.\nsteps:") },
		"order in YAML":     func(in *input) { in.edit(declared, "[gcc, make]", "[make, gcc]") },
		"a description":     func(in *input) { in.edit(declared, "a kernel", "the kernel") },
		"the disk that is asked": func(in *input) {
			in.edit(declared, "suffix: debug, version: KERNEL_VERSION}", "suffix: debug, version: KERNEL_VERSION}\n    disk: 3")
		},
		"an address of a source": func(in *input) { in.edit("versions.yaml", "example.org/linux.tar.xz", "example.net/linux.tar.xz") },
		"another architecture":   func(in *input) { in.edit("kernel-configs/arm64/c.conf", "=y", "=m") },
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
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "recipe.golden.json")
	if *update {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(want) {
		t.Errorf("the canonical recipe changed: raise Schema if its meaning did. Got:\n%s", data)
	}
}

func TestPlanHoldsTheBytesOfItsFiles(t *testing.T) {
	plan := start().plan(t)
	if len(plan.Files) != len(plan.Recipe.Files) {
		t.Fatalf("%d contents for %d files", len(plan.Files), len(plan.Recipe.Files))
	}
	for i, content := range plan.Files {
		if content.File != plan.Recipe.Files[i] || NewContent(content.Path, content.Data, content.Mode == "0755").File != content.File {
			t.Errorf("file %d is %+v, its content %+v", i, plan.Recipe.Files[i], content.File)
		}
	}
}

// counting is a test double of a file system that counts how often each file is
// opened.
type counting struct {
	fs.FS
	opened map[string]int
}

func (c counting) Open(name string) (fs.File, error) {
	c.opened[name]++
	return c.FS.Open(name)
}

func TestTreeReadsEachFileOnce(t *testing.T) {
	root := counting{files(), map[string]int{}}
	tree := NewTree(root)
	for range 3 {
		if _, err := tree.Below("assets", "kernel-configs/common/a.conf"); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.ReadFile("assets/kernel/build.sh"); err != nil {
			t.Fatal(err)
		}
	}
	// Once to look at its mode and once to read it.
	if n := root.opened["assets/kernel/build.sh"]; n > 2 {
		t.Errorf("the file was opened %d times", n)
	}
}

func TestResolveErrors(t *testing.T) {
	for name, test := range map[string]struct {
		change func(in *input)
		want   string
	}{
		"pending":      {func(in *input) { in.digests = nil }, "the key of kernel is pending on dep, which is not built"},
		"unknown pin":  {func(in *input) { in.edit(declared, "assets.linux.version", "assets.linux.verson") }, "assets.linux.verson"},
		"clash":        {func(in *input) { in.edit("kernel-configs/debug/b.conf", "CONFIG_B=y", "CONFIG_A=m") }, "kernel-configs/debug/b.conf:1"},
		"bad version":  {func(in *input) { in.edit("kernel-configs/kata_config_version", "188", "many") }, "kata_config_version"},
		"empty folder": {func(in *input) { delete(in.tree, "kernel-configs/x86_64/c.conf") }, "x86_64"},
	} {
		in := start()
		test.change(&in)
		_, err := in.resolve(t)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), declared+":") {
			t.Errorf("%s: got %v, want it to name %s", name, err, test.want)
		}
	}
}
