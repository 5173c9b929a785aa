package recipe

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// edits are changes of declarations, each of one input.
var edits = map[string]func(in *input){
	"content of a script": func(in *input) { in.edit("assets/kernel/build.sh", "build", "rebuild") },
	"mode of a file":      func(in *input) { in.edit("assets/kernel/patches/1.patch", "patch", "#!/bin/sh") },
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
	"no kernel":               func(in *input) { in.edit(declared, "    kernel: {", "    # kernel: {") },
	"a pin":                   func(in *input) { in.edit("versions.yaml", "v6.18.15", "v6.18.16") },
	"variable of a pin":       func(in *input) { in.edit(declared, "MORE: assets", "OTHER: assets") },
	"an option":               func(in *input) { in.edit(declared, "red", "blue") },
	"an option that is empty": func(in *input) { in.edit(declared, "COLOUR: red", `COLOUR: ""`) },
	"an option with quotes":   func(in *input) { in.edit(declared, "COLOUR: red", `COLOUR: '""'`) },
	"name of an option":       func(in *input) { in.edit(declared, "COLOUR", "COLOR") },
	"hash of a source":        func(in *input) { in.edit("assets/sources.yaml", "1111", "3333") },
	"hash of another place":   func(in *input) { in.edit("assets/sources.yaml", "2222", "3333") },
	"name of a place":         func(in *input) { in.edit("assets/sources.yaml", `name: "debian"`, `name: "other"`) },
	"name of a source":        func(in *input) { in.edit(declared, "{linux: ", "{kernel: ") },
	"suite":                   func(in *input) { in.edit(declared, "suite: trixie", "suite: forky") },
	"image":                   func(in *input) { in.edit(declared, "sha256:d7", "sha256:d8") },
	"a package":               func(in *input) { in.edit(declared, "gcc", "clang") },
	"a cross package":         func(in *input) { in.edit(declared, "x86_64: [gcc-x86", "x86_64: [clang, gcc-x86") },
	"epoch":                   func(in *input) { in.edit(declared, "epoch: 1", "epoch: 2") },
	"order of steps": func(in *input) {
		in.edit(declared, "  - name: build\n    script: build.sh\n", "")
		in.edit(declared, "  - name: configure\n", "  - name: build\n    script: build.sh\n  - name: configure\n")
	},
	"name of a step":         func(in *input) { in.edit(declared, "name: build", "name: compile") },
	"script of a step":       func(in *input) { in.edit(declared, "script: build.sh", "script: configure.sh") },
	"files of a step":        func(in *input) { in.edit(declared, "files: [patches.d]", "files: [series]") },
	"a step among others":    func(in *input) { in.edit(declared, "alone: true, files: [patches.d]", "alone: false") },
	"place of a config":      func(in *input) { in.edit(declared, "/build/.config", "/build/config") },
	"arch":                   func(in *input) { in.arch = catalog.AArch64 },
	"asset":                  func(in *input) { in.asset = "dep" },
	"digest of a dependency": func(in *input) { in.digests["dep"] = Digests{"sha256:bb", in.digests["dep"].Outputs} },
	"secondary output of a dependency": func(in *input) {
		in.digests["dep"].Outputs["modules"] = "sha256:dd"
	},
	"name of an output of a dependency": func(in *input) {
		in.digests["dep"] = Digests{"sha256:aa", map[string]string{"module": "sha256:cc"}}
	},
	"name of an output":         func(in *input) { in.edit(declared, "outputs: [modules]", "outputs: [mods]") },
	"path of an image":          func(in *input) { in.edit(declared, "main.image", "base.image") },
	"filesystem of an image":    func(in *input) { in.edit(declared, "filesystem: ext4", "filesystem: erofs") },
	"variant of an image":       func(in *input) { in.edit(declared, "variant: tiny", "variant: small") },
	"an image with DAX":         func(in *input) { in.edit(declared, "variant: tiny", "variant: tiny, dax: true") },
	"a measured image":          func(in *input) { in.edit(declared, "variant: tiny", "variant: tiny, measured: true") },
	"fingerprint of a secret":   func(in *input) { in.tree["assets/kernel/sign.crt"].Data = certificate("two") },
	"name of a secret":          func(in *input) { in.edit(declared, "SIGN_PIN", "SIGNING_PIN") },
	"a place that is left away": func(in *input) { in.edit(declared, "sources: {linux: assets.linux.linux}", "sources: {}") },
	"source of another pin":     func(in *input) { in.edit(declared, "linux: assets.linux.linux", "linux: assets.linux.other") },
}

// ofRoots are the fields that only the builder of a root filesystem has.
var ofRoots = []string{"manager", "remove", "locked", "repository", "keyring"}

// constants are changes of what this program decides.
var constants = map[string]func(r *Recipe){
	"schema":             func(r *Recipe) { r.Schema++ },
	"distribution":       func(r *Recipe) { r.Builder.Distribution = "gentoo" },
	"output format":      func(r *Recipe) { r.Output.Format = "tar" },
	"compression level":  func(r *Recipe) { r.Output.Level++ },
	"time stamp":         func(r *Recipe) { r.Output.SourceDateEpoch++ },
	"layout of images":   func(r *Recipe) { r.Output.Images[0].Layout++ },
	"path of a pin":      func(r *Recipe) { r.Pins[0].Path = "assets.other.version" },
	"name of dependency": func(r *Recipe) { r.Dependencies[0].Asset = "other" },
}

// TestEveryInputChangesTheKey changes one input after the other, and sees the
// key and the inputs change; and that no field of Recipe is left out.
func TestEveryInputChangesTheKey(t *testing.T) {
	base := start().plan(t).Recipe
	changed := map[string]Recipe{}
	for name, edit := range edits {
		in := start()
		edit(&in)
		changed[name] = in.plan(t).Recipe
	}
	for name, change := range constants {
		r := start().plan(t).Recipe
		change(&r)
		changed[name] = r
	}
	seen := map[string]string{key(t, base): "nothing"}
	fields, out := map[string]bool{}, strings.Builder{}
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		k := key(t, changed[name])
		if other, ok := seen[k]; ok {
			t.Errorf("a change of the %s gives the key of a change of the %s", name, other)
		}
		seen[k] = name
		compare(fields, "", document(t, base), document(t, changed[name]))
		fmt.Fprintf(&out, "# %s\n", name)
		diff := Diff(base, changed[name])
		if len(diff) == 0 {
			t.Errorf("a change of the %s does not change the inputs", name)
		}
		for _, change := range diff {
			fmt.Fprintln(&out, change)
		}
	}
	for _, field := range leaves(reflect.TypeFor[Recipe](), "") {
		if !fields[field] && !strings.HasPrefix(field, ".import.") && !strings.HasPrefix(field, ".root.") && // See TestImportChangesTheKey, TestRootChangesTheKey,
			!slices.Contains(ofRoots, strings.Split(field+".", ".")[2]) { // and that no builder has these.
			t.Errorf("no change of %s is tested: add one, and see that Inputs has it", field)
		}
	}
	require.Golden(t, "testdata/changes.golden", out.String())
}

func key(t *testing.T, r Recipe) string {
	t.Helper()
	k, err := r.Key()
	require.NoError(t, err)
	return k
}

// document is the canonical recipe as generic JSON.
func document(t *testing.T, r Recipe) any {
	t.Helper()
	data, err := r.Canonical()
	require.NoError(t, err)
	var value any
	require.NoError(t, json.Unmarshal(data, &value))
	return value
}

// compare notes the fields that differ, as leaves names them.
func compare(fields map[string]bool, path string, a, b any) {
	if left, ok := a.(map[string]any); ok {
		right, _ := b.(map[string]any)
		for name := range left {
			if path == ".options" {
				name = ""
			}
			compare(fields, strings.TrimSuffix(path+"."+name, "."), left[name], right[name])
		}
	}
	if left, ok := a.([]any); ok {
		right, _ := b.([]any)
		for i := range min(len(left), len(right)) {
			compare(fields, path, left[i], right[i])
		}
	}
	if !reflect.DeepEqual(a, b) {
		fields[path] = true
	}
}

// leaves returns the paths of all fields of a type that hold no others.
func leaves(typ reflect.Type, path string) []string {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice:
		return leaves(typ.Elem(), path)
	case reflect.Struct:
		var all []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			all = append(all, leaves(typ.Field(i).Type, path+"."+name)...)
		}
		return all
	}
	return []string{path}
}

func TestParse(t *testing.T) {
	want := start().plan(t).Recipe
	data, err := want.Canonical()
	require.NoError(t, err)
	got, err := Parse(data)
	require.NoError(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parsed (-want +got)\n%s", diff)
	}
	if len(Diff(want, got)) != 0 || Common(want, got) != len(want.Inputs()) {
		t.Errorf("a recipe and itself: %d common inputs, changes %v", Common(want, got), Diff(want, got))
	}
	for text, want := range map[string]string{
		`{"schema":3}`:            "schema 3, but this program reads 1 to 2",
		`{}`:                      "schema 0",
		`{"schema":2,"colour":1}`: `unknown field "colour"`,
		`{"schema":2} {}`:         "invalid character '{' after top-level value",
		`[]`:                      "cannot unmarshal array",
		``:                        "unexpected end",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s): %v, want %q", text, err, want)
		}
	}
	if r, err := Parse([]byte(`{"schema":1,"asset":"a"}`)); err != nil || Diff(r, Recipe{Schema: 2, Asset: "a"})[0].String() != "recipe schema 1 -> 2" {
		t.Errorf("an older recipe: %+v, %v", r, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema":2,"kernel":{},"options":{"A":""},"dependencies":[{"outputs":[{}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		again, err := r.Canonical()
		require.NoError(t, err)
		same, err := Parse(again)
		if err != nil || len(Diff(r, same)) != 0 {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// TestTheMachineIsInNoKey resolves a working tree of git, and then the same
// tree under whatever should not matter.
func TestTheMachineIsInNoKey(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.CopyFS(root, files()))
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", root, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	resolve := func() string {
		t.Helper()
		in := start()
		return in.from(t, NewTree(os.DirFS(root)), filepath.Join(root, "versions.yaml")).Key
	}
	want := resolve()
	for _, change := range []struct {
		name string
		make func()
	}{
		{"no git", func() {}},
		{"a repository", func() { git("init", "-q") }},
		{"a commit", func() { git("add", "."); git("commit", "-q", "-m", "one") }},
		{"a branch", func() { git("checkout", "-q", "-b", "other") }},
		{"an unread file that is not committed", func() { write(t, filepath.Join(root, "assets/kernel/unread"), "new") }},
		{"time stamps", func() {
			require.NoError(t, os.Chtimes(filepath.Join(root, "assets/kernel/build.sh"), fixed, fixed))
		}},
		{"the permissions of others", func() {
			require.NoError(t, os.Chmod(filepath.Join(root, "assets/kernel/build.sh"), 0o700))
		}},
		{"the current folder", func() { t.Chdir(t.TempDir()) }},
		{"the environment", func() {
			for _, name := range []string{"HOME", "USER", "LANG", "TZ", "HOSTNAME", "SOURCE_DATE_EPOCH"} {
				t.Setenv(name, "other")
			}
		}},
		{"the processors", func() { t.Cleanup(func() { runtime.GOMAXPROCS(runtime.NumCPU()) }); runtime.GOMAXPROCS(1) }},
	} {
		change.make()
		if resolve() != want {
			t.Errorf("%s changes the key", change.name)
		}
	}
	write(t, filepath.Join(root, "assets/kernel/build.sh"), "edited, not committed\n")
	edited := resolve()
	if edited == want {
		t.Error("an edit that is not committed does not change the key")
	}
	git("commit", "-q", "-a", "-m", "two")
	if resolve() != edited {
		t.Error("committing an edit changes the key")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
}

// TestEachFileIsReadOnce computes the keys of everything in this repository,
// with one tree.
func TestEachFileIsReadOnce(t *testing.T) {
	root := counting{os.DirFS("../../.."), map[string]int{}}
	if n := keys(t, NewTree(root)); n == 0 {
		t.Error("no recipes")
	}
	for name, n := range root.read {
		if n > 1 {
			t.Errorf("%s was read %d times", name, n)
		}
	}
	if root.read["kernel-configs/kata_config_version"] != 1 {
		t.Errorf("read: %v", root.read)
	}
}

// keys computes the keys of all assets of all architectures of this repository.
func keys(t testing.TB, tree *Tree) (n int) {
	c, err := catalog.Load(tree)
	require.NoError(t, err)
	v, err := versions.Load("../../../versions.yaml", tree)
	require.NoError(t, err)
	resolver := Resolver{Versions: v, Tree: tree}
	for _, asset := range c.Assets {
		for _, arch := range asset.Arches {
			digests := map[string]Digests{}
			for _, name := range asset.On(arch).Dependencies {
				digests[name] = Digests{Tarball: "sha256:aa"}
			}
			if _, err := resolver.Resolve(asset, arch, digests); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	return n
}

func BenchmarkKeys(b *testing.B) {
	recipes := 0
	for b.Loop() {
		recipes = keys(b, NewTree(os.DirFS("../../..")))
	}
	b.ReportMetric(float64(recipes), "recipes")
}
