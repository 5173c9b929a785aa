package catalog

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// ReservedEnv are the variables that the program itself sets in every step; see
// assets/README.md. Pins and options may not set them.
var ReservedEnv = []string{
	"ARCH", "BUILD", "CCACHE_DIR", "CCACHE_DISABLE", "CROSS_COMPILE", "DEPENDENCIES", "DESTDIR", "FILES", "HOME", "JOBS", "KATA_CONFIG_VERSION",
	"KATA_REBUILD", "KERNEL_ARCH", "LC_ALL", "MACHINE", "OUTPUTS", "PATH", "REQUESTED_CONFIG", "SOURCES", "SOURCE_DATE_EPOCH", "SUFFIX", "TZ",
}

// reservedNames are used by the cache for other things than assets.
var reservedNames = []string{"builder", "sources"}

func (c *checker) family(f family) {
	if folder := path.Base(path.Dir(c.file)); f.Family != folder {
		c.problem(c.at("family"), "family is %q, its folder %q: they must be the same", f.Family, folder)
	}
	c.builder(f.Builder)
	if len(f.Steps) == 0 {
		c.problem(c.at("steps"), "no steps: name at least one script")
	}
	c.steps(f.Steps, "steps")
	if len(f.Assets) == 0 {
		c.problem(c.at("assets"), "no assets")
	}
	for i, asset := range f.Assets {
		c.asset(asset, "assets", i)
		c.packages(f.Builder.Packages, asset.Packages, "assets", i, "packages")
		c.steps(asset.Steps, "assets", i, "steps")
	}
}

func (c *checker) builder(b Builder) {
	if b.Distribution != "debian" {
		c.problem(c.at("builder", "distribution"), "distribution is %q: only debian is supported", b.Distribution)
	}
	if b.Suite == "" {
		c.problem(c.at("builder"), "the builder has no suite: name a release of the distribution")
	}
	c.name(c.at("builder", "image"), "image", b.Image, imageName)
	if b.Epoch < 1 {
		c.problem(c.at("builder", "epoch"), "epoch is %d: it starts at 1", b.Epoch)
	}
	c.packages(nil, b.Packages, "builder", "packages")
	for _, arch := range slices.Sorted(maps.Keys(b.Cross)) {
		c.arch(arch, "builder", "cross", string(arch))
		c.packages(b.Packages, b.Cross[arch], "builder", "cross", string(arch))
	}
}

// packages checks a list of packages, which may not repeat others.
func (c *checker) packages(others, names []string, steps ...any) {
	for i, name := range names {
		c.name(c.at(append(slices.Clip(steps), i)...), "package", name, packageName)
	}
	c.unique("package", others, names, steps...)
}

// steps checks the list of steps below some fields.
func (c *checker) steps(list []Step, fields ...any) {
	for i, step := range list {
		c.step(list[:i], step, c.at(append(slices.Clip(fields), i)...))
	}
}

func (c *checker) step(before []Step, step Step, where string) {
	c.name(where, "step name", step.Name, plainName)
	if slices.ContainsFunc(before, func(s Step) bool { return s.Name == step.Name }) {
		c.problem(where, "duplicate step %s", step.Name)
	}
	c.path(where, "script", step.Script)
	switch {
	case !step.Alone && len(step.Files) > 0:
		c.problem(where, "step %s has files: only steps with alone do, others get those of the asset", step.Name)
	case step.Alone && step.Config != "":
		c.problem(where, "step %s has alone and a config: without the asset's files it knows no options", step.Name)
	case step.Alone && len(before) > 0 && !before[len(before)-1].Alone:
		c.problem(where, "step %s has alone: put it before the steps without", step.Name)
	}
	for _, name := range step.Files {
		c.inside(where, "file", name)
	}
}

// asset checks an asset below some fields.
func (c *checker) asset(a Asset, fields ...any) {
	at := func(steps ...any) string { return c.at(append(slices.Clip(fields), steps...)...) }
	where := at()
	c.name(where, "asset name", a.Name, plainName)
	if slices.Contains(reservedNames, a.Name) {
		c.problem(where, "asset name %s is reserved: the cache uses it", a.Name)
	}
	if a.Description == "" {
		c.problem(where, "%s has no description", a.Name)
	}
	if len(a.Arches) == 0 {
		c.problem(where, "%s has no arches", a.Name)
	}
	for j, arch := range a.Arches {
		c.arch(arch, append(slices.Clip(fields), "arches", j)...)
		if slices.Contains(a.Arches[:j], arch) {
			c.problem(at("arches", j), "duplicate architecture %s", arch)
		}
	}
	c.environment(a, at)
	for _, name := range slices.Sorted(maps.Keys(a.Sources)) {
		c.name(at("sources", name), "source name", name, plainName)
	}
	for j, file := range a.Files {
		c.path(at("files", j), "file", file)
	}
	for j, name := range a.Outputs {
		c.name(at("outputs", j), "output name", name, plainName)
	}
	c.unique("output", nil, a.Outputs, append(slices.Clip(fields), "outputs")...)
	switch {
	case a.Verify != "" && !slices.Contains(Kinds, a.Verify):
		c.problem(at("verify"), "verify is %q: want one of %s%s", a.Verify, strings.Join(Kinds, ", "), nearest.Hint(a.Verify, Kinds))
	case a.Verify != "" && a.Kernel != nil:
		c.problem(at("verify"), "%s is a kernel, which has its own checks: remove verify", a.Name)
	}
	if a.Disk < 0 {
		c.problem(at("disk"), "disk is %d GiB", a.Disk)
	}
	if a.Kernel != nil {
		c.kernel(a, append(slices.Clip(fields), "kernel")...)
	}
}

// environment checks the variables of an asset: each is of one kind.
func (c *checker) environment(a Asset, at func(steps ...any) string) {
	kinds := map[string]string{}
	for _, declared := range []struct {
		kind, field string
		values      map[string]string
	}{{"a pin", "pins", a.Pins}, {"an option", "options", a.Options}, {"a secret", "secrets", a.Secrets}} {
		for _, name := range slices.Sorted(maps.Keys(declared.values)) {
			where := at(declared.field, name)
			if slices.Contains(ReservedEnv, name) {
				c.problem(where, "variable %s is set by the program itself", name)
			}
			c.name(where, "variable", name, variableName)
			if kinds[name] != "" {
				c.problem(where, "variable %s is %s and %s", name, kinds[name], declared.kind)
			}
			kinds[name] = declared.kind
			if declared.field == "secrets" {
				c.path(where, "certificate", a.Secrets[name])
			}
		}
	}
}

// kernel checks the kernel of an asset below some fields.
func (c *checker) kernel(a Asset, fields ...any) {
	where := c.at(fields...)
	at := func(steps ...any) []any { return append(slices.Clip(fields), steps...) }
	if len(a.Kernel.Configs) == 0 {
		c.problem(where, "%s has no configs", a.Name)
	}
	c.folders(nil, a.Kernel.Configs, at("configs")...)
	for _, arch := range slices.Sorted(maps.Keys(a.Kernel.ArchConfigs)) {
		below := at("arch_configs", string(arch))
		if !slices.Contains(a.Arches, arch) {
			c.problem(c.at(below...), "%s does not exist on %s", a.Name, arch)
		}
		c.folders(a.Kernel.Configs, a.Kernel.ArchConfigs[arch], below...)
	}
	if a.Kernel.Suffix != "" {
		c.name(c.at(at("suffix")...), "suffix", a.Kernel.Suffix, plainName)
	}
	if _, ok := a.Pins[a.Kernel.Version]; !ok {
		c.problem(where, "version is %q: name the pin that holds the kernel's version", a.Kernel.Version)
	}
}

// folders checks a list of folders of kernel-configs, which may not repeat others.
func (c *checker) folders(others, names []string, steps ...any) {
	c.unique("folder", others, names, steps...)
	for i, folder := range names {
		if info, err := fs.Stat(c.tree, path.Join("kernel-configs", folder)); err != nil || !info.IsDir() {
			c.problem(c.at(append(slices.Clip(steps), i)...), "no folder kernel-configs/%s", folder)
		}
	}
}

// family is the content of one assets.yaml.
type family struct {
	Family  string  `yaml:"family"`
	Builder Builder `yaml:"builder"`
	Steps   []Step  `yaml:"steps"`
	Assets  []Asset `yaml:"assets"`
}

// loadFamily reads one assets.yaml and checks it on its own.
func loadFamily(tree fs.FS, file string) ([]Asset, error) {
	var f family
	root, err := strictyaml.ReadFile(tree, file, &f)
	if err != nil {
		return nil, err
	}
	check := checker{tree: tree, file: file, root: root}
	check.family(f)
	if err := errors.Join(check.problems...); err != nil {
		return nil, err
	}
	folder := path.Dir(file)
	for i := range f.Assets {
		asset := &f.Assets[i]
		asset.Family, asset.Builder = f.Family, f.Builder
		asset.Builder.Packages = slices.Concat(f.Builder.Packages, asset.Packages)
		if len(asset.Steps) == 0 {
			asset.Steps = f.Steps
		}
		asset.Folder, asset.Pos = folder, check.at("assets", i)
	}
	return f.Assets, nil
}
