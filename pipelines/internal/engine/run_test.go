package engine

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// Secrets are passed in another way, so that their values are in no list.
func TestEnvironmentHasNoSecrets(t *testing.T) {
	found := map[string]string{}
	for _, variable := range environment(recipe.Recipe{Secrets: []recipe.Secret{{Name: "PIN"}}}, "x86_64") {
		found[variable.Name] = variable.Value
	}
	if _, ok := found["PIN"]; ok {
		t.Error("a secret is among the variables")
	}
	for name, want := range map[string]string{"DESTDIR": "/out", "OUTPUTS": "/outputs", "DEPENDENCIES": "/kata/dependencies"} {
		if found[name] != want {
			t.Errorf("%s is %q, want %q", name, found[name], want)
		}
	}
}

func TestCrossCompile(t *testing.T) {
	for _, test := range []struct{ arch, machine, want string }{
		{"x86_64", "x86_64", ""},
		{"aarch64", "x86_64", "aarch64-linux-gnu-"},
		{"x86_64", "aarch64", "x86_64-linux-gnu-"},
		{"ppc64le", "x86_64", "powerpc64le-linux-gnu-"},
		{"s390x", "x86_64", "s390x-linux-gnu-"},
		{"riscv64", "x86_64", "riscv64-linux-gnu-"},
	} {
		found := map[string]string{}
		for _, variable := range environment(recipe.Recipe{Arch: test.arch}, test.machine) {
			found[variable.Name] = variable.Value
		}
		if found["CROSS_COMPILE"] != test.want || found["MACHINE"] != test.machine || found["ARCH"] != test.arch {
			t.Errorf("for %s on %s: %q, want %q", test.arch, test.machine, found, test.want)
		}
	}
}

func TestEnvironmentIsReserved(t *testing.T) {
	for _, variable := range environment(recipe.Recipe{Kernel: &recipe.Kernel{}}, "x86_64") {
		if !slices.Contains(catalog.ReservedEnv, variable.Name) {
			t.Errorf("an asset could set %s", variable.Name)
		}
	}
	if !slices.Contains(catalog.ReservedEnv, nonceVariable) {
		t.Errorf("an asset could set %s", nonceVariable)
	}
}

func TestCheckWithoutKernel(t *testing.T) {
	plan := recipe.Plan{Recipe: recipe.Recipe{Asset: "walls"}}
	err := check(plan, recipe.Step{Name: "configure", Config: "/build/.config"}, nil, nil)
	if err == nil || err.Error() != "step configure declares a config, but walls declares no kernel" {
		t.Errorf("error %v", err)
	}
}

// TestCheckRefusesDebugOptions checks final configurations of a kernel that does not
// name the debug folder.
func TestCheckRefusesDebugOptions(t *testing.T) {
	kernel, err := kconfig.NewPlan(fstest.MapFS{
		kconfig.VersionFile:            {Data: []byte("188\n")},
		kconfig.ExceptionsFile:         {Data: []byte("exceptions: []\n")},
		"kernel-configs/common/a.conf": {Data: []byte("CONFIG_SMP=y\n")},
		"kernel-configs/x86_64/b.conf": {Data: []byte("CONFIG_PVH=y\n")},
		"kernel-configs/debug/c.conf":  {Data: []byte("CONFIG_DEBUG_FS=y\n")},
	}, []string{"common"}, "x86_64", "v6.18.15")
	require.NoError(t, err)
	err = check(recipe.Plan{Kernel: kernel}, recipe.Step{Name: "configure"}, []byte("CONFIG_SMP=y\nCONFIG_PVH=y\nCONFIG_DEBUG_FS=y\n"), nil)
	require.Error(t, err, "kernel-configs/debug/c.conf:1: CONFIG_DEBUG_FS=y is for debug kernels only")
}
