// Package matrix lists the assets of an architecture as the jobs of a matrix of
// GitHub Actions: which machine builds each, in which stage, with which secrets. It
// decides from the catalog and the pins only. It does not ask the caches: each job
// does that for its asset, in less time than it takes to ask for all of them.
package matrix

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Matrix is the matrix of a job. GitHub refuses a job with an empty one, so a workflow
// skips the job.
type Matrix struct {
	// Include is never nil.
	Include []Job `json:"include"`
}

// Job builds one asset.
type Job struct {
	Asset string       `json:"asset"`
	Arch  catalog.Arch `json:"arch"`
	// Imported says that the job needs no engine.
	Imported bool `json:"imported"`
	// Stage is 1, or one more than the highest of its dependencies.
	Stage int `json:"stage"`
	// Runner is the label of the machines that can build it.
	Runner string `json:"runner"`
	// Secrets are the names of the secrets that the job gets, never nil.
	Secrets []string `json:"secrets"`
	// Require are the checks of verify that must run, separated by commas: a machine
	// that cannot run them fails the job. Root is true if they need root.
	Require string `json:"require"`
	Root    bool   `json:"root"`
}

// Options say which assets to list.
type Options struct {
	Arch catalog.Arch
	// Stage is the only stage to list; 0 is all.
	Stage int
	// Anybody leaves out assets that need a secret, or a machine that is not GitHub's:
	// others keep what a fork leaves on them. Without are the assets that it names.
	Anybody bool
	Without []string
}

// runners are the labels of machines by architecture: GitHub's own, or those of Kata's
// CI.
var runners = map[catalog.Arch]string{
	catalog.X86_64:  "ubuntu-24.04",
	catalog.AArch64: "ubuntu-24.04-arm",
	catalog.S390X:   "ubuntu-24.04-s390x",
	catalog.PPC64LE: "ubuntu-24.04-ppc64le",
	catalog.RISCV64: "riscv-builder",
}

// New returns the matrix, by stage and name, and a line for each asset that is left
// out of the architecture.
func New(assets *catalog.Catalog, resolver recipe.Resolver, o Options) (m Matrix, left []string, err error) {
	closure, err := assets.Closure(assets.On(o.Arch), o.Arch) // dependencies first
	if err != nil {
		return m, nil, err
	}
	m.Include = []Job{}
	jobs := map[string]Job{}
	for _, asset := range closure {
		why, err := reserved(resolver, asset, jobs, o)
		if err != nil {
			return m, nil, err
		}
		if why != "" {
			left = append(left, asset.Name+" "+why)
			continue
		}
		job := Job{Asset: asset.Name, Arch: o.Arch, Imported: asset.Import != nil, Stage: 1, Runner: runner(asset, o.Arch), Secrets: append([]string{}, secrets(asset)...)}
		for _, name := range asset.Dependencies {
			job.Stage = max(job.Stage, jobs[name].Stage+1)
		}
		required, root := Required(asset, o.Arch)
		job.Require, job.Root = strings.Join(required, ","), root
		jobs[asset.Name] = job
		if o.Stage == 0 || job.Stage == o.Stage {
			m.Include = append(m.Include, job)
		}
	}
	slices.SortFunc(m.Include, func(a, b Job) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), strings.Compare(a.Asset, b.Asset))
	})
	return m, left, nil
}

func secrets(asset catalog.Asset) []string { return slices.Sorted(maps.Keys(asset.Secrets)) }

// reserved returns why an asset has no job, or "". Its dependencies have jobs unless
// they are left out.
func reserved(resolver recipe.Resolver, asset catalog.Asset, jobs map[string]Job, o Options) (string, error) {
	if slices.Contains(o.Without, asset.Name) {
		return "is named by --without", nil
	}
	if o.Anybody && len(asset.Secrets) > 0 {
		return "needs the secret " + strings.Join(secrets(asset), ", "), nil
	}
	if machine := runner(asset, o.Arch); o.Anybody && machine != runners[catalog.X86_64] && machine != runners[catalog.AArch64] {
		return "needs a machine " + machine + ", which is not GitHub's", nil
	}
	for _, name := range asset.Dependencies {
		if _, found := jobs[name]; !found {
			return "depends on " + name, nil
		}
	}
	origin, err := resolver.Origin(asset)
	if err != nil || origin.How != recipe.OutOfReach {
		return "", err
	}
	return "is " + origin.String(), nil
}

// runner returns the label of the machines that build an asset. What can be built on
// x86_64 is: there are many such machines, and most developers have one.
func runner(asset catalog.Asset, arch catalog.Arch) string {
	if _, crosses := asset.Builder.Cross[arch]; crosses {
		return runners[catalog.X86_64]
	}
	return runners[arch]
}

// Required returns the checks of verify that an asset must pass, and whether they need
// root: the common ones, and one that shows that it runs. Guests of any architecture are
// emulated. Other programs run only on their own architecture, and so not where CI
// cross-compiles them.
func Required(asset catalog.Asset, arch catalog.Arch) (checks []string, root bool) {
	native := runner(asset, arch) == runners[arch]
	checks = asset.RequiredChecks(native)
	switch {
	case asset.Kernel != nil, asset.Verify == "ovmf":
		return append(checks, "boot"), false
	case asset.Verify == "qemu" && native:
		return append(checks, "version"), false
	case asset.Verify == "nydus" && native:
		return append(checks, "instances"), true
	}
	// They boot a kernel of the caches, which may have none yet, so that is not demanded:
	// root can mount folders, and use KVM.
	if native && asset.BootsKernel() {
		return checks, true
	}
	return checks, false
}
