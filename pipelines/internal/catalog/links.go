package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// checkNames refuses duplicate assets, which are sorted by name, and two tarballs with the
// same file name, which a step could not tell apart as dependencies.
func (c *Catalog) checkNames() []error {
	var problems []error
	declared := map[string]string{}
	for _, asset := range c.Assets {
		if other, found := declared[asset.Name]; found {
			problems = append(problems, fmt.Errorf("%s: duplicate asset %s, already declared at %s", asset.Pos, asset.Name, other))
		}
		declared[asset.Name] = asset.Pos
	}
	for _, asset := range c.Assets {
		for _, output := range asset.Outputs {
			name := asset.Name + "-" + output
			if other, found := declared[name]; found {
				problems = append(problems, fmt.Errorf("%s: output %s of %s has the tarball name of %s, declared at %s", asset.Pos, output, asset.Name, name, other))
			}
			declared[name] = asset.Pos
		}
	}
	return problems
}

// checkDependencies checks every dependency on every architecture.
func (c *Catalog) checkDependencies() []error {
	var problems []error
	for _, asset := range c.Assets {
		for _, name := range asset.allDependencies() {
			if !slices.Contains(c.Names(), name) {
				problems = append(problems, fmt.Errorf("%s: %s depends on an unknown asset %q%s",
					asset.Pos, asset.Name, name, nearest.Hint(name, c.Names())))
				continue
			}
			for _, arch := range asset.Arches {
				if _, err := c.Find(name, arch); err != nil && slices.Contains(asset.On(arch).Dependencies, name) {
					problems = append(problems, fmt.Errorf("%s: %s on %s: %w", asset.Pos, asset.Name, arch, err))
				}
			}
		}
		if cycle := c.cycle(asset.Name, nil); cycle != nil && cycle[0] == asset.Name {
			problems = append(problems, fmt.Errorf("%s: dependency cycle: %s", asset.Pos, strings.Join(cycle, " -> ")))
		}
	}
	return problems
}

// checkExtends checks that extensions have a name, and a base with one image.
func (c *Catalog) checkExtends() []error {
	var problems []error
	for _, asset := range c.Assets {
		if asset.Extends == "" {
			continue
		}
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("%s: %s extends %q: %w", asset.Pos, asset.Name, asset.Extends, fmt.Errorf(format, args...)))
		}
		if !plainName.pattern.MatchString(asset.Options["EXTENSION"]) {
			problem("the option EXTENSION is %q: want its name in the guest, of %s", asset.Options["EXTENSION"], plainName.want)
		}
		for _, arch := range asset.Arches {
			if base, err := c.Find(asset.Extends, arch); err != nil {
				problem("on %s: %w", arch, err)
			} else if len(base.Images) != 1 {
				problem("it has %d images: want one", len(base.Images))
			}
		}
	}
	return problems
}

// allDependencies are those on all architectures.
func (a Asset) allDependencies() []string {
	all := slices.Clone(a.Dependencies)
	for _, arch := range slices.Sorted(maps.Keys(a.ArchDependencies)) {
		all = append(all, a.ArchDependencies[arch]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// cycle returns the first cycle of dependencies reached from name.
func (c *Catalog) cycle(name string, chain []string) []string {
	if i := slices.Index(chain, name); i >= 0 {
		return append(chain[i:], name)
	}
	if i := slices.Index(c.Names(), name); i >= 0 {
		for _, dependency := range c.Assets[i].allDependencies() {
			if cycle := c.cycle(dependency, append(slices.Clip(chain), name)); cycle != nil {
				return cycle
			}
		}
	}
	return nil
}

// Closure returns the named assets and everything they depend on, each once,
// dependencies first.
func (c *Catalog) Closure(names []string, arch Arch) ([]Asset, error) {
	var order []Asset
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		asset, err := c.Find(name, arch)
		if err != nil {
			return err
		}
		for _, dependency := range asset.Dependencies {
			if err := visit(dependency); err != nil {
				return err
			}
		}
		order = append(order, asset)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Stages sorts assets, given with dependencies first, into stages, each by name: the
// assets of a stage depend only on assets of earlier ones.
func Stages(closure []Asset) [][]Asset {
	var stages [][]Asset
	of := map[string]int{}
	for _, asset := range closure {
		stage := 0
		for _, name := range asset.Dependencies {
			stage = max(stage, of[name]+1)
		}
		of[asset.Name] = stage
		for len(stages) <= stage {
			stages = append(stages, nil)
		}
		stages[stage] = append(stages[stage], asset)
	}
	for _, assets := range stages {
		slices.SortFunc(assets, func(a, b Asset) int { return strings.Compare(a.Name, b.Name) })
	}
	return stages
}

// Dependents returns the sorted names of all assets of an architecture that depend
// on the named one, directly or through others.
func (c *Catalog) Dependents(name string, arch Arch) []string {
	takes := map[string]bool{name: true}
	for grown := true; grown; {
		grown = false
		for _, asset := range c.Assets {
			if !takes[asset.Name] && slices.Contains(asset.Arches, arch) &&
				slices.ContainsFunc(asset.On(arch).Dependencies, func(d string) bool { return takes[d] }) {
				takes[asset.Name], grown = true, true
			}
		}
	}
	delete(takes, name)
	return slices.Sorted(maps.Keys(takes))
}
