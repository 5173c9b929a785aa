package recipe

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const (
	rootFamily = `family: guest
builder:
  distribution: debian
  suite: trixie
  image: debian:trixie-slim@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  epoch: 1
  packages: [e2fsprogs]
steps:
  - {name: root, script: root.sh}
assets:
  - name: root
    description: a root
    arches: [x86_64, s390x]
    pins: {OS: assets.image.name, RELEASE: assets.image.version}
    root: {distribution: OS, release: RELEASE, parts: [base, secret]}
`
	rootDistribution = `manager: apt
epoch: 1
remove: [apt, chrony]
releases:
  trixie: {image: "debian:trixie@sha256:1111111111111111111111111111111111111111111111111111111111111111"}
  forky: {image: "debian:trixie@sha256:1111111111111111111111111111111111111111111111111111111111111111"}
  sid: {image: unknown}
parts:
  base: {packages: [systemd, chrony]}
  secret: {packages: [chrony], arches: {s390x: [libcurl4]}}
`
	rootPins = `assets:
  description: things
  image:
    description: distributions
    url: "https://example.org"
    name: debian
    version: trixie
`
	rootLock = `distribution: debian
release: trixie
packages:
  - {name: chrony, version: "4.6", hash: "sha256:aa"}
  - {name: systemd, version: "257", hash: "sha256:bb"}
`
)

const (
	familyFile = "assets/guest/assets.yaml"
	distroFile = "assets/guest/debian.yaml"
	lockFile   = "assets/guest/locks/root-x86_64.yaml"
)

// rootInput is a tree with the root filesystem of a guest, locked on x86_64.
func rootInput() input {
	return input{asset: "root", arch: catalog.X86_64, tree: fstest.MapFS{
		"versions.yaml": {Data: []byte(rootPins)}, "assets/guest/root.sh": {Data: []byte("#!/bin/sh\n")},
		familyFile: {Data: []byte(rootFamily)}, distroFile: {Data: []byte(rootDistribution)}, lockFile: {Data: []byte(rootLock)},
	}}
}

var rootEdits = map[string]func(in *input){
	"an image":  func(in *input) { in.edit(distroFile, "1111", "2222") },
	"an epoch":  func(in *input) { in.edit(distroFile, "epoch: 1", "epoch: 2") },
	"a manager": func(in *input) { in.edit(distroFile, "apt", "apk") },
	"a part": func(in *input) {
		in.edit(distroFile, "[systemd, chrony]", "[systemd]")
		in.edit(distroFile, "[chrony]", "[]")
	},
	"a version": func(in *input) { in.edit(lockFile, "257", "258") },
	"a hash":    func(in *input) { in.edit(lockFile, "aa", "cc") },
	"a locked package": func(in *input) {
		in.edit(lockFile, "packages:\n", "packages:\n  - {name: a, version: \"1\", hash: \"sha256:dd\"}\n")
	},
	"a repository": func(in *input) {
		in.edit(distroFile, "  secret: {packages", "  secret: {repository: {address: OS, keyring: keys}, packages")
		in.edit(familyFile, "    root: {", "    sources: {keys: assets.linux.linux}\n    root: {")
		in.tree["assets/sources.yaml"] = &fstest.MapFile{Data: []byte(sources)}
		in.tree["versions.yaml"] = &fstest.MapFile{Data: []byte(rootPins + strings.TrimPrefix(pins, "assets:\n  description: \"things\"\n"))}
	},
	"a removed package":  func(in *input) { in.edit(distroFile, "[apt, chrony]", "[apt, dpkg]") },
	"no lock":            func(in *input) { delete(in.tree, lockFile) },
	"an architecture":    func(in *input) { in.arch = catalog.S390X },
	"no root filesystem": func(in *input) { in.edit(familyFile, "root: {distribution", "# {") },
	"a release": func(in *input) {
		in.edit("versions.yaml", "trixie", "forky")
		in.edit(lockFile, "trixie", "forky")
	},
	"a distribution": func(in *input) {
		in.edit("versions.yaml", "debian", "devuan")
		in.edit(lockFile, "debian", "devuan")
		in.tree["assets/guest/devuan.yaml"] = in.tree[distroFile]
	},
}

func TestRootChangesTheKey(t *testing.T) {
	base := rootInput().plan(t).Recipe
	seen := map[string]string{key(t, base): "nothing"}
	out := &strings.Builder{}
	fields := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(rootEdits)) {
		in := rootInput()
		rootEdits[name](&in)
		changed := in.plan(t).Recipe
		if other, found := seen[key(t, changed)]; found {
			t.Errorf("a change of %s gives the key of a change of %s", name, other)
		}
		seen[key(t, changed)] = name
		compare(fields, "", document(t, base), document(t, changed))
		fmt.Fprintf(out, "# %s\n", name)
		for _, change := range Diff(base, changed) {
			fmt.Fprintln(out, change)
		}
	}
	for _, field := range []string{"distribution", "suite", "image", "epoch", "packages", "manager", "remove", "locked.name", "locked.version", "locked.hash"} {
		if !fields[".root."+field] {
			t.Errorf("no change of the root's %s is tested", field)
		}
	}
	require.Golden(t, "testdata/root.golden", out.String())
}

// TestRootBuildsAnywhere: only the container of the root is of the guest's architecture.
func TestRootBuildsAnywhere(t *testing.T) {
	r := rootInput().plan(t).Recipe
	if _, err := r.On("aarch64"); err != nil {
		t.Error(err)
	}
	r.Root = nil
	if _, err := r.On("aarch64"); err == nil {
		t.Error("a recipe without a root and without cross packages builds on another architecture")
	}
}

// TestRootRead: a lock that is added is a change.
func TestRootRead(t *testing.T) {
	in := rootInput()
	if plan := in.plan(t); !slices.Contains(plan.Read, lockFile) || !slices.Contains(plan.Read, distroFile) {
		t.Errorf("read %v", plan.Read)
	}
	delete(in.tree, lockFile)
	if plan := in.plan(t); slices.Contains(plan.Read, lockFile) || !slices.Contains(plan.Below, lockFile) {
		t.Errorf("without a lock: read %v, below %v", plan.Read, plan.Below)
	}
}

func TestRootProblems(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(in *input)
		want string
	}{
		"unknown image": {func(in *input) { in.edit("versions.yaml", "trixie", "sid") },
			"assets/guest/debian.yaml:7: the digest of the image of debian sid is unknown: resolve it, and write it there"},
		"lock of another release": {func(in *input) { in.edit("versions.yaml", "trixie", "forky") },
			"assets/guest/locks/root-x86_64.yaml is for debian trixie, and not for debian forky: run `pipelines rootfs lock root --arch x86_64`"},
		"lock that lacks a package": {func(in *input) { in.edit(distroFile, "[systemd,", "[systemd, gdb, strace,") },
			"assets/guest/locks/root-x86_64.yaml lacks gdb, strace: run `pipelines rootfs lock root --arch x86_64`"},
	} {
		in := rootInput()
		test.edit(&in)
		plan := in.plan(t)
		if len(plan.Unlocked) != 1 || plan.Unlocked[0] != test.want || plan.Key != "" {
			t.Errorf("%s: %v, key %q, want %q", name, plan.Unlocked, plan.Key, test.want)
		}
		file := filepath.Join(t.TempDir(), "versions.yaml")
		write(t, file, string(in.tree["versions.yaml"].Data))
		resolver, asset := in.load(t, NewTree(in.tree), file)
		if origin, err := resolver.Origin(asset); err != nil || origin.How != OutOfReach || origin.Why != test.want {
			t.Errorf("%s: origin %v, %v", name, origin, err)
		}
	}
	for name, test := range map[string]struct {
		edit func(in *input)
		want string
	}{
		"unknown distribution": {func(in *input) { in.edit("versions.yaml", "debian", "debain") },
			`assets.image.name: no file assets/guest/debain.yaml declares the distribution debain: write it, or choose another one; did you mean "debian"?`},
		"unknown release": {func(in *input) { in.edit("versions.yaml", "trixie", "trixi") },
			`assets.image.version: assets/guest/debian.yaml:4: debian has no release "trixi": add it, or choose one of forky, sid, trixie; did you mean "trixie"?`},
		"unknown part": {func(in *input) { in.edit(familyFile, "[base, secret]", "[base, secrets]") },
			`assets/guest/debian.yaml:8: debian has no part "secrets": add it, or choose one of base, secret; did you mean "secret"?`},
	} {
		in := rootInput()
		test.edit(&in)
		if _, err := in.resolve(t); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
