package catalog

import (
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// withChecks is the good family, with checks of its own and of its first asset.
const withChecks = `checks:
  except:
    - checks: [pie]
      files: [opt/kata/bin/t*]
      reason: the family's
    - checks: [nx]
      arches: [aarch64]
      reason: the architecture's
` + good

const assetChecks = `    files: [data]
    checks:
      runs:
        - file: opt/kata/bin/tiny
          args: [--version]
          want: '^tiny ${VERSION} in ${COLOUR}$'
      libraries:
        opt/kata/bin/tiny: [libc.so.6]
      except:
        - checks: [size, host-safe]
          reason: the asset's
`

func checkedTree(from, to string) string {
	yaml := strings.Replace(withChecks, "    files: [data]\n", assetChecks, 1)
	return strings.Replace(yaml, from, to, 1)
}

func TestChecks(t *testing.T) {
	c, err := Load(tree(checkedTree("", "")))
	require.NoError(t, err)
	asset, err := c.Find("tiny", X86_64)
	require.NoError(t, err)
	other, err := c.Find("tiny", AArch64)
	require.NoError(t, err)
	checks := asset.Checks
	for _, test := range []struct{ got, want string }{
		{checks.Excepted(CheckPIE, "opt/kata/bin/tiny"), "the family's"},
		{checks.Excepted(CheckPIE, "opt/kata/bin/tiny/more/of/it"), "the family's"},
		{checks.Excepted(CheckPIE, "opt/kata/bin/other"), ""},
		{checks.Excepted(CheckNX, "opt/kata/bin/tiny"), ""},
		{checks.Off(CheckPIE), ""},
		{checks.Off(CheckSize), "the asset's"},
		{checks.Off(CheckNX), ""},
		{other.Checks.Off(CheckNX), "the architecture's"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	if len(checks.Runs) != 1 || !slices.Equal(checks.Libraries["opt/kata/bin/tiny"], []string{"libc.so.6"}) {
		t.Errorf("got %+v", checks)
	}
	required := strings.Join(asset.RequiredChecks(true), " ")
	if want := "whole architecture libraries pie relro nx stripped debug-sections build-paths runs"; required != want {
		t.Errorf("required: %s, want %s", required, want)
	}
	asset.Checks.Except, asset.Budget = nil, 1
	if got := asset.RequiredChecks(false); slices.Contains(got, CheckRuns) || !slices.Contains(got, CheckSize) {
		t.Errorf("required: %s", got)
	}
	pattern, err := checks.Runs[0].Pattern(map[string]string{"VERSION": "v1.2", "COLOUR": "red"})
	if err != nil || !pattern.MatchString("This is\ntiny 1.2 in red\n") || pattern.MatchString("tiny 112 in red") {
		t.Errorf("got %v, %v", pattern, err)
	}
}

func TestChecksErrors(t *testing.T) {
	for name, test := range map[string]struct{ from, to, want string }{
		"unknown check":       {"[pie]", "[piee]", `assets.yaml:3: unknown check "piee": choose from host-safe, architecture, libraries, pie, relro, nx, stripped, debug-sections, build-paths, size, runs; did you mean "pie"?`},
		"whole":               {"[pie]", "[whole]", "assets.yaml:3: no asset is excepted from the check whole"},
		"no checks":           {"[pie]", "[]", "assets.yaml:3: the exception names no checks: choose from host-safe, "},
		"no reason":           {"      reason: the family's\n", "", "assets.yaml:3: the exception has no reason"},
		"of the whole asset":  {"[pie]", "[size]", "assets.yaml:4: the check size is of the whole asset: remove files"},
		"pattern":             {"[opt/kata/bin/t*]", "['opt/kata/[']", `assets.yaml:4: pattern "opt/kata/[": syntax error in pattern`},
		"absolute":            {"[opt/kata/bin/t*]", "[/opt/kata]", `assets.yaml:4: file "/opt/kata": want its path in the tarball, such as opt/kata/bin/program`},
		"with a dot":          {"file: opt", "file: ./opt", `assets.yaml:28: file "./opt/kata/bin/tiny": want its path`},
		"arch":                {"[aarch64]", "[arm64]", "assets.yaml:7: write arm64 as aarch64"},
		"absent arch":         {"        - checks: [size, host-safe]", "        - checks: [size, host-safe]\n          arches: [s390x]", "assets.yaml:35: the asset does not exist on s390x"},
		"no such pin":         {"${VERSION}", "${VERSIO}", `assets.yaml:30: ^tiny ${VERSIO} in ${COLOUR}$: neither a pin nor an option has the name VERSIO; did you mean "VERSION"?`},
		"regular expression":  {"^tiny", "^tiny(", "assets.yaml:30: error parsing regexp: missing closing )"},
		"nothing wanted":      {"'^tiny ${VERSION} in ${COLOUR}$'", "''", "assets.yaml:28: opt/kata/bin/tiny: want is empty: any output would do"},
		"no libraries":        {"[libc.so.6]", "[]", "assets.yaml:32: opt/kata/bin/tiny has no libraries"},
		"library twice":       {"[libc.so.6]", "[libc.so.6, libc.so.6]", "assets.yaml:32: duplicate library libc.so.6"},
		"pin of a family":     {"  except:\n    - checks: [pie]", "  runs: [{file: x/y, want: '${VERSION}'}]\n  except:\n    - checks: [pie]", "assets.yaml:2: ${VERSION}: neither a pin nor an option has the name VERSION"},
		"unknown field":       {"      runs:", "      run:", `assets.yaml:27: unknown field "run"`},
		"no such script":      {"      libraries:", "      scripts: [mount.sh]\n      libraries:", "assets.yaml:31: script mount.sh does not exist"},
		"script twice":        {"      libraries:", "      scripts: [build.sh, build.sh]\n      libraries:", "assets.yaml:31: duplicate script build.sh"},
		"exception of a file": {"[opt/kata/bin/t*]", "['']", `assets.yaml:4: file ""`},
	} {
		yaml := checkedTree(test.from, test.to)
		if yaml == checkedTree("", "") {
			t.Errorf("%s changes nothing", name)
		}
		if _, err := Load(tree(yaml)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

// Checks of an imported asset are of files that its members become.
func TestChecksOfImports(t *testing.T) {
	const imported = `family: tiny
assets:
  - name: tiny
    description: an imported thing
    arches: [x86_64]
    import:
      source: assets.tiny.tiny
      members: {tiny: opt/kata/bin/tiny, lib/: opt/kata/lib/, "NVRC-${ARCH}": "opt/kata/libexec/NVRC-${ARCH}"}
    checks:
      runs: [{file: opt/kata/bin/tiny, want: x}, {file: opt/kata/libexec/NVRC-x86_64, want: x}]
      libraries: {opt/kata/lib/libx.so: [libc.so.6]}
`
	if _, err := Load(tree(imported)); err != nil {
		t.Error(err)
	}
	for from, want := range map[string]string{
		"file: opt/kata/bin/tiny":      "assets.yaml:10: no member becomes opt/kata/bin/tinny",
		"libraries: {opt/kata/lib/lib": "assets.yaml:11: no member becomes opt/kata/libs/libx.so",
	} {
		to := strings.Replace(strings.Replace(from, "bin/tiny", "bin/tinny", 1), "lib/lib", "libs/lib", 1)
		if _, err := Load(tree(strings.Replace(imported, from, to, 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
