package recipe

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// imported loads a tree with an imported asset, in which one text is replaced by another.
func imported(t *testing.T, old, edited string) (Resolver, catalog.Asset) {
	t.Helper()
	yaml := `family: tool
assets:
  - name: tool
    description: a tool
    arches: [x86_64, aarch64]
    pins: {VERSION: assets.linux.version}
    import:
      source: assets.linux.tool-${ARCH}
      members:
        ./tool-${VERSION}/tool: opt/kata/bin/tool-${GOARCH}
        share/**: opt/kata/share/
      modes: {"opt/kata/bin/tool-${GOARCH}": 0755}
`
	lock := strings.Replace(sources, "    other:\n", `    tool-aarch64: [{name: upstream, url: "https://example.org/arm", sha256: unknown}]
    tool-x86_64:
      - {name: upstream, url: "https://example.org/tool", sha256: "`+strings.Repeat("5", 64)+`"}
      - {name: ci, oci: {ref: "example.org/tool@sha256:`+strings.Repeat("6", 64)+`", title: tool.tar}}
    other:
`, 1)
	if old != "" {
		yaml, lock = strings.ReplaceAll(yaml, old, edited), strings.ReplaceAll(lock, old, edited)
	}
	file := filepath.Join(t.TempDir(), "versions.yaml")
	write(t, file, pins)
	in := input{asset: "tool", arch: catalog.X86_64}
	return in.load(t, NewTree(fstest.MapFS{
		versions.LockFile: {Data: []byte(lock)}, "assets/tool/assets.yaml": {Data: []byte(yaml)},
	}), file)
}

func resolve(t *testing.T, r Resolver, asset catalog.Asset) Plan {
	t.Helper()
	plan, err := r.Resolve(asset, catalog.X86_64, nil)
	require.NoError(t, err)
	return plan
}

// TestImport resolves an import: the variables have their values, and there are inputs of
// an import and none of a build.
func TestImport(t *testing.T) {
	r, asset := imported(t, "", "")
	plan := resolve(t, r, asset)
	var inputs []string
	for _, input := range plan.Recipe.Inputs() {
		inputs = append(inputs, input.Kind+" "+input.Name+" = "+input.Value)
	}
	require.Golden(t, "testdata/import.golden", strings.Join(inputs, "\n")+"\n")
	if got := fmt.Sprint(plan.Read, plan.Below); got != "[assets/sources.yaml assets/tool/assets.yaml versions.yaml] []" {
		t.Errorf("read %s", got)
	}
}

// TestImportChangesTheKey changes what decides an import, one after the other.
func TestImportChangesTheKey(t *testing.T) {
	r, asset := imported(t, "", "")
	base := resolve(t, r, asset)
	fields := map[string]bool{}
	for _, edit := range [][2]string{
		{"/tool: opt", "/tool2: opt"}, {"bin/tool-", "bin/tool2-"}, {"0755", "0644"}, {"v6.18.15\": &", "v6.18.14\": &"},
	} {
		r, asset := imported(t, edit[0], edit[1])
		plan := resolve(t, r, asset)
		if plan.Key == base.Key {
			t.Errorf("%s changes nothing", edit)
		}
		if plan.Key != "" && len(Diff(base.Recipe, plan.Recipe)) == 0 {
			t.Errorf("%s is no change of an input", edit)
		}
		compare(fields, "", document(t, base.Recipe), document(t, plan.Recipe))
	}
	for _, field := range leaves(reflect.TypeFor[[]Member](), ".import") {
		if !fields[field] {
			t.Errorf("no change of %s is tested", field)
		}
	}
}

// TestGiven: a local archive changes the key unless it is the declared one.
func TestGiven(t *testing.T) {
	r, asset := imported(t, "", "")
	declared := resolve(t, r, asset)
	for sum, want := range map[string]string{
		strings.Repeat("5", 64): "",
		strings.Repeat("7", 64): "[source tool places upstream ci -> given source tool from ci removed source tool from given added source tool from upstream removed]",
	} {
		r.Given = map[string]Given{"tool": {"/home/user/tool", sum}}
		plan := resolve(t, r, asset)
		if want == "" {
			want = "[]"
		}
		if got := fmt.Sprint(Diff(declared.Recipe, plan.Recipe)); got != want {
			t.Errorf("%s: %s, want %s", sum, got, want)
		}
		if plan.Given != (Given{"/home/user/tool", sum}) || (plan.Key == declared.Key) != (want == "[]") {
			t.Errorf("%s: %+v", sum, plan)
		}
	}
}

// TestOrigin: each asset is built, imported or out of reach.
func TestOrigin(t *testing.T) {
	r, tool := imported(t, "", "")
	arm := tool
	arm.Sources = map[string]string{"tool": "assets.linux.tool-aarch64"}
	given := r
	given.Given = map[string]Given{"tool": {Path: "../tool"}}
	r2, unlocked := imported(t, "v6.18.15\": &", "v6.18.14\": &")
	for _, test := range []struct {
		Resolver
		asset catalog.Asset
		want  string
	}{
		{r, catalog.Asset{}, "built"},
		{r, tool, "imported from https://example.org/tool or oci:example.org/tool@sha256:" + strings.Repeat("6", 64) + " tool.tar"},
		{r, arm, "out of reach: the source assets.linux.tool-aarch64 has no pinned hash or commit"},
		{given, arm, "imported from ../tool (--source)"},
		{r2, unlocked, `out of reach: `},
	} {
		origin, err := test.Origin(test.asset)
		if err != nil || !strings.HasPrefix(origin.String(), test.want) {
			t.Errorf("%s, %v: want %s", origin, err, test.want)
		}
	}
}

// TestOrigins: an asset is out of reach if what it needs is.
func TestOrigins(t *testing.T) {
	r, tool := imported(t, "", "")
	far := tool
	far.Name, far.Sources = "far", map[string]string{"tool": "assets.linux.tool-aarch64"}
	origins, err := r.Origins([]catalog.Asset{
		far, tool, {Name: "user", Dependencies: []string{"tool", "far"}}, {Name: "last", Dependencies: []string{"user"}}, {Name: "other", Dependencies: []string{"tool"}},
	})
	require.NoError(t, err)
	for name, want := range map[string]string{
		"other": "built",
		"user":  "out of reach: it needs far, and the source assets.linux.tool-aarch64 has no pinned hash or commit",
		"last":  "out of reach: it needs user, and it needs far, and the source assets.linux.tool-aarch64 has no pinned hash or commit",
	} {
		if got := origins[name].String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
