package kconfig

import (
	"strings"
	"testing"
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
		if err != nil {
			t.Fatal(err)
		}
		err = plan.Check([]byte(test.final), nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
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
