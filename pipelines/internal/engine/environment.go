package engine

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// variable is one environment variable of a step.
type variable struct{ Name, Value string }

// environment returns the variables of a recipe's steps on a machine of the given
// architecture, without secrets and without those that the container itself sets.
// assets/README.md documents them for authors of steps.
func environment(r recipe.Recipe, machine string) []variable {
	variables := append(common(r),
		variable{"ARCH", r.Arch},
		variable{"CROSS_COMPILE", crossCompile(r.Arch, machine)},
		variable{"DEPENDENCIES", dependenciesPath},
		variable{"DESTDIR", outPath},
		variable{"KERNEL_ARCH", catalog.Arch(r.Arch).Kernel()},
		variable{"MACHINE", machine},
		variable{"OUTPUTS", outputsPath},
	)
	if r.Root != nil {
		variables = append(variables, variable{"ROOTFS", recipe.RootFolder})
	}
	if r.Kernel != nil {
		variables = append(variables,
			variable{"KATA_CONFIG_VERSION", strconv.Itoa(r.Kernel.ConfigVersion)},
			variable{"REQUESTED_CONFIG", filesPath + "/" + recipe.RequestedConfig},
			variable{"SUFFIX", r.Kernel.Suffix},
		)
	}
	if len(r.Output.Images) > 0 {
		variables = append(variables, variable{"IMAGES", images(r.Output.Images)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		variables = append(variables, variable{name, r.Options[name]})
	}
	return variables
}

// images returns a line for each image: its path, its filesystem, and whether it is
// measured or plain.
func images(list []recipe.Image) string {
	var lines []string
	for _, image := range list {
		kind := "plain"
		if image.Measured {
			kind = "measured"
		}
		lines = append(lines, image.Path+" "+image.Filesystem+" "+kind)
	}
	return strings.Join(lines, "\n")
}

// common returns the variables that every step has, even one that runs alone.
func common(r recipe.Recipe) []variable {
	variables := []variable{
		{"BUILD", buildPath},
		{"FILES", filesPath},
		{"HOME", recipe.HomeFolder},
		{"LC_ALL", "C.UTF-8"},
		{"SOURCES", sourcesPath},
		{"SOURCE_DATE_EPOCH", strconv.FormatInt(r.Output.SourceDateEpoch, 10)},
		{"TZ", "UTC"},
	}
	for _, pin := range r.Pins {
		variables = append(variables, variable{pin.Env, pin.Value})
	}
	return variables
}

// crossCompile returns the prefix of the names of the cross compiler and its tools,
// "" for a native build.
func crossCompile(arch, machine string) string {
	switch arch {
	case machine:
		return ""
	case string(catalog.PPC64LE):
		return "powerpc64le-linux-gnu-"
	}
	return arch + "-linux-gnu-"
}
