package kconfig

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// TestForbidden builds the plan of a kernel in a tree with a debug folder, and checks a
// final .config.
func TestForbidden(t *testing.T) {
	files := tree(map[string]string{
		VersionFile:                         "188\n",
		ExceptionsFile:                      "exceptions: []\n",
		"kernel-configs/common/a.conf":      "# none\n",
		"kernel-configs/own/o.conf":         "CONFIG_KPROBES=y\n",
		"kernel-configs/x86_64/b.conf":      "# none\n",
		"kernel-configs/arm64/b.conf":       "# none\n",
		"kernel-configs/s390/b.conf":        "# none\n",
		"kernel-configs/debug/d.conf":       "CONFIG_KPROBES=y\nCONFIG_FRAMES=64\n# CONFIG_FAST is not set\n",
		"kernel-configs/debug/arm64/e.conf": "CONFIG_NMI=y\n",
	})
	for name, test := range map[string]struct {
		folders     []string
		arch, final string
		want        string // "" is no error
	}{
		"none":                   {[]string{"common"}, "x86_64", "CONFIG_SMP=y\n# CONFIG_KPROBES is not set\nCONFIG_FRAMES=16\n", ""},
		"one":                    {[]string{"common"}, "x86_64", "CONFIG_KPROBES=y\n", "kernel-configs/debug/d.conf:1: CONFIG_KPROBES=y is for debug kernels only, but is in"},
		"a number":               {[]string{"common"}, "x86_64", "CONFIG_FRAMES=64\n", "CONFIG_FRAMES=64"},
		"of this architecture":   {[]string{"common"}, "arm64", "CONFIG_NMI=y\n", "debug/arm64/e.conf:1"},
		"of another":             {[]string{"common"}, "s390", "CONFIG_NMI=y\n", ""},
		"the debug kernel":       {[]string{"common", "debug"}, "x86_64", "CONFIG_KPROBES=y\nCONFIG_FRAMES=64\n", ""},
		"not a .config":          {[]string{"common"}, "x86_64", "\x7fELF", "is it a .config?"},
		"off as debugging asks":  {[]string{"common"}, "x86_64", "# CONFIG_FAST is not set\n", ""},
		"requested by its own":   {[]string{"common", "own"}, "x86_64", "CONFIG_KPROBES=y\n", ""},
		"another than its own":   {[]string{"common", "own"}, "x86_64", "CONFIG_KPROBES=y\nCONFIG_FRAMES=64\n", "CONFIG_FRAMES=64"},
		"with requested missing": {[]string{"common", "own"}, "x86_64", "CONFIG_FRAMES=64\n", "CONFIG_KPROBES: wanted y, got nothing"},
	} {
		plan, err := NewPlan(files, test.folders, test.arch, "v6.18.15")
		require.NoError(t, err)
		err = plan.Check([]byte(test.final), nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

const rules = `forbidden:
  - options: [CONFIG_RNG]
    in: [secret]
    reason: not from the host
  - options: [CONFIG_KASAN*, CONFIG_LOCKDEP]
    outside: [debug]
    reason: only for debugging
`

// TestRules builds plans in a tree with rules, and checks a final .config with each.
func TestRules(t *testing.T) {
	const here = ForbiddenFile + ":"
	for name, test := range map[string]struct {
		folders         string
		requests, final string
		plan, want      string // "" is no error
	}{
		"allowed":            {"common", "", "CONFIG_RNG=y\n# CONFIG_KASAN is not set\nCONFIG_HAVE_KASAN=y\n", "", ""},
		"selected":           {"common secret", "", "CONFIG_RNG=m\n", "", here + "2: CONFIG_RNG=m is forbidden: not from the host; it is in the final configuration of Linux v6.18.15 for x86_64"},
		"by a pattern":       {"common", "", "CONFIG_KASAN_INLINE=y\n", "", here + "5: CONFIG_KASAN_INLINE=y is forbidden: only for debugging"},
		"the debug kernel":   {"common debug", "", "CONFIG_KPROBES=y\nCONFIG_KASAN=y\n", "", ""},
		"both":               {"common", "", "CONFIG_KPROBES=y\nCONFIG_LOCKDEP=y\n", "", "debug/d.conf:1: CONFIG_KPROBES=y is for debug kernels only"},
		"requested":          {"common secret", "CONFIG_RNG=y\n", "", "kernel-configs/common/a.conf:2: " + here + "2: CONFIG_RNG=y is forbidden: not from the host", ""},
		"requested as off":   {"common secret", "# CONFIG_RNG is not set\n", "# CONFIG_RNG is not set\n", "", ""},
		"off, but turned on": {"common secret", "# CONFIG_RNG is not set\n", "CONFIG_RNG=y\n", "", "CONFIG_RNG: wanted not set, got y"},
	} {
		plan, err := NewPlan(tree(map[string]string{
			VersionFile: "188\n", ExceptionsFile: "exceptions: []\n", ForbiddenFile: rules,
			"kernel-configs/common/a.conf": "# none\n" + test.requests, "kernel-configs/x86_64/b.conf": "# none\n",
			"kernel-configs/secret/c.conf": "# none\n", "kernel-configs/debug/d.conf": "CONFIG_KPROBES=y\n",
		}), strings.Fields(test.folders), "x86_64", "v6.18.15")
		wants(t, name+": plan", err, test.plan)
		if err == nil {
			wants(t, name+": check", plan.Check([]byte(test.final), nil), test.want)
		}
	}
}

// wants checks for an error with a text, or for none.
func wants(t *testing.T, what string, err error, text string) {
	t.Helper()
	if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want %q", what, err, text)
	}
}

func TestBadRules(t *testing.T) {
	for rule, want := range map[string]string{
		"{reason: x}":                                      "forbidden.yaml:2: the rule has no options",
		"{options: [KASAN], reason: x}":                    `option is "KASAN": want a name such as CONFIG_KCOV, or a pattern such as CONFIG_KASAN*`,
		`{options: ["CONFIG_[A"], reason: x}`:              `option is "CONFIG_[A"`,
		"{options: [CONFIG_A]}":                            "the rule has no reason",
		"{options: [CONFIG_A], reason: x, in: [comon]}":    `unknown folder "comon": choose one of common; did you mean "common"?`,
		"{options: [CONFIG_A], reason: x, folders: [a]}":   "folders",
		"{options: [CONFIG_A], reason: x, outside: [gpu]}": `unknown folder "gpu"`,
	} {
		_, err := loadRules(tree(map[string]string{
			ForbiddenFile: "forbidden:\n  - " + rule + "\n", "kernel-configs/common/a.conf": "# none\n",
		}))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), ForbiddenFile+":2: ") {
			t.Errorf("%s: got %v, want %q", rule, err, want)
		}
	}
}

func TestPlanWithoutDebugFolder(t *testing.T) {
	files := tree(map[string]string{
		VersionFile: "188\n", ExceptionsFile: "exceptions: []\n",
		"kernel-configs/common/a.conf": "CONFIG_SMP=y\n", "kernel-configs/x86_64/b.conf": "# none\n",
	})
	plan, err := NewPlan(files, []string{"common"}, "x86_64", "v6.18.15")
	if err != nil || len(plan.Forbidden) != 0 || plan.ConfigVersion != 188 {
		t.Errorf("got %+v, %v", plan, err)
	}
}
