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
	"ARCH", "BUILD", "CCACHE_DIR", "CCACHE_DISABLE", "CROSS_COMPILE", "DEPENDENCIES", "DESTDIR", "FILES", "HOME", "IMAGES", "JOBS", "KATA_CONFIG_VERSION",
	"KATA_REBUILD", "KERNEL_ARCH", "LC_ALL", "MACHINE", "OUTPUTS", "PATH", "REQUESTED_CONFIG", "ROOTFS", "SOURCES", "SOURCE_DATE_EPOCH", "SUFFIX", "TZ",
}

// reservedNames are names that the cache uses for other things than assets.
var reservedNames = []string{"builder", "sources"}

func (c checker) family(f family) {
	if folder := path.Base(c.folder); f.Family != folder {
		c.At("family").Problem("family is %q, its folder %q: they must be the same", f.Family, folder)
	}
	c.at("checks").checks(f.Checks, nil, nil)
	if len(f.Assets) == 0 {
		c.At("assets").Problem("no assets")
	}
	switch isBuilt := func(a Asset) bool { return a.Import == nil }; {
	case len(f.Assets) == 0 || slices.ContainsFunc(f.Assets, isBuilt):
		c.at("builder").builder(f.Builder)
		if len(f.Steps) == 0 {
			c.At("steps").Problem("no steps: name at least one script")
		}
	case f.Builder.Image != "" || len(f.Steps) > 0:
		c.Problem("all assets are imported: remove the builder and the steps")
	}
	c.at("steps").steps(f.Steps)
	for i, asset := range f.Assets {
		at := c.at("assets", i)
		at.asset(asset)
		at.at("packages").packages(f.Builder.Packages, asset.Packages)
		at.at("steps").steps(asset.Steps)
	}
}

func (c checker) builder(b Builder) {
	if b.Distribution != "debian" {
		c.At("distribution").Problem("distribution is %q: only debian is supported", b.Distribution)
	}
	if b.Suite == "" {
		c.Problem("the builder has no suite: name a release of the distribution")
	}
	c.at("image").name("image", b.Image, imageName)
	if b.Epoch < 1 {
		c.At("epoch").Problem("epoch is %d: it starts at 1", b.Epoch)
	}
	c.at("packages").packages(nil, b.Packages)
	for _, arch := range slices.Sorted(maps.Keys(b.Cross)) {
		at := c.at("cross", string(arch))
		at.arch(arch)
		at.packages(b.Packages, b.Cross[arch])
	}
}

// packages checks a list of packages, which may not be among some others.
func (c checker) packages(others, names []string) {
	for i, name := range names {
		c.at(i).name("package", name, packageName)
	}
	c.unique("package", withoutSuites(others), withoutSuites(names))
}

func withoutSuites(packages []string) []string {
	var names []string
	for _, name := range packages {
		name, _, _ = strings.Cut(name, "/")
		names = append(names, name)
	}
	return names
}

func (c checker) steps(list []Step) {
	for i, step := range list {
		c.at(i).step(list[:i], step)
	}
}

func (c checker) step(before []Step, step Step) {
	c.name("step name", step.Name, plainName)
	if slices.ContainsFunc(before, func(s Step) bool { return s.Name == step.Name }) {
		c.Problem("duplicate step %s", step.Name)
	}
	c.path("script", step.Script)
	switch {
	case !step.Alone && len(step.Files) > 0:
		c.Problem("step %s has files: only steps with alone do, others get those of the asset", step.Name)
	case step.Alone && step.Config != "":
		c.Problem("step %s has alone and a config: without the asset's files it cannot know the options", step.Name)
	case step.Alone && len(before) > 0 && !before[len(before)-1].Alone:
		c.Problem("step %s has alone: put it before the steps without", step.Name)
	}
	for _, name := range step.Files {
		c.inside("file", name)
	}
}

func (c checker) asset(a Asset) {
	c.name("asset name", a.Name, plainName)
	if slices.Contains(reservedNames, a.Name) {
		c.Problem("asset name %s is reserved: the cache uses it", a.Name)
	}
	if a.Description == "" {
		c.Problem("%s has no description", a.Name)
	}
	if len(a.Arches) == 0 {
		c.Problem("%s has no arches", a.Name)
	}
	for i, arch := range a.Arches {
		c.at("arches", i).arch(arch)
		if slices.Contains(a.Arches[:i], arch) {
			c.At("arches", i).Problem("duplicate architecture %s", arch)
		}
	}
	c.environment(a)
	for _, name := range slices.Sorted(maps.Keys(a.Sources)) {
		c.at("sources", name).name("source name", name, plainName)
	}
	for i, file := range a.Files {
		c.at("files", i).path("file", file)
	}
	for i, name := range a.Outputs {
		c.at("outputs", i).name("output name", name, plainName)
	}
	c.at("outputs").unique("output", nil, a.Outputs)
	c.at("images").images(a)
	for _, arch := range slices.Sorted(maps.Keys(a.ArchDependencies)) {
		if !slices.Contains(a.Arches, arch) {
			c.At("arch_dependencies", string(arch)).Problem("%s does not exist on %s", a.Name, arch)
		}
	}
	if a.Go != "" && !fs.ValidPath(a.Go) {
		c.At("go").Problem("go is %q: want the folder of a program, from the root of the repository", a.Go)
	}
	if a.Program != "" && (!strings.Contains(a.Program, "/") || !fs.ValidPath(a.Program)) {
		c.At("program").Problem("program is %q: want a path in a folder of the tarball, such as opt/kata/bin/NAME", a.Program)
	}
	switch {
	case a.Verify != "" && !slices.Contains(Kinds, a.Verify):
		c.At("verify").Problem("verify is %q: want one of %s%s", a.Verify, strings.Join(Kinds, ", "), nearest.Hint(a.Verify, Kinds))
	case a.Verify != "" && a.Kernel != nil:
		c.At("verify").Problem("%s is a kernel, which has its own checks: remove verify", a.Name)
	}
	c.at("checks").checks(a.Checks, a.variables(), a.Arches)
	if a.Disk < 0 {
		c.At("disk").Problem("disk is %d GiB", a.Disk)
	}
	if a.Kernel != nil {
		c.at("kernel").kernel(a)
	}
	if a.Root != nil {
		c.at("root").root(a)
	}
	if a.Import != nil {
		c.imports(a)
	}
}

// environment checks that each variable of an asset has only one source.
func (c checker) environment(a Asset) {
	kinds := map[string]string{}
	for _, declared := range []struct {
		kind, field string
		values      map[string]string
	}{{"a pin", "pins", a.Pins}, {"an option", "options", a.Options}, {"a secret", "secrets", a.Secrets}} {
		for _, name := range slices.Sorted(maps.Keys(declared.values)) {
			at := c.at(declared.field, name)
			if slices.Contains(ReservedEnv, name) {
				at.Problem("variable %s is set by the program itself", name)
			}
			at.name("variable", name, variableName)
			if kinds[name] != "" {
				at.Problem("variable %s is %s and %s", name, kinds[name], declared.kind)
			}
			kinds[name] = declared.kind
			if declared.field == "secrets" {
				at.path("certificate", a.Secrets[name])
			}
		}
	}
}

// kernel checks the kernel of an asset.
func (c checker) kernel(a Asset) {
	if len(a.Kernel.Configs) == 0 {
		c.Problem("%s has no configs", a.Name)
	}
	c.at("configs").folders(nil, a.Kernel.Configs)
	for _, arch := range slices.Sorted(maps.Keys(a.Kernel.ArchConfigs)) {
		at := c.at("arch_configs", string(arch))
		if !slices.Contains(a.Arches, arch) {
			at.Problem("%s does not exist on %s", a.Name, arch)
		}
		at.folders(a.Kernel.Configs, a.Kernel.ArchConfigs[arch])
	}
	if a.Kernel.Suffix != "" {
		c.at("suffix").name("suffix", a.Kernel.Suffix, plainName)
	}
	if _, ok := a.Pins[a.Kernel.Version]; !ok {
		c.Problem("version is %q: name the pin that holds the kernel's version", a.Kernel.Version)
	}
}

// root checks the root filesystem of an asset.
func (c checker) root(a Asset) {
	for _, variable := range []struct{ field, value string }{{"distribution", a.Root.Distribution}, {"release", a.Root.Release}} {
		if _, ok := a.Pins[variable.value]; !ok {
			c.At(variable.field).Problem("%s is %q: name the pin that holds the %s of the root", variable.field, variable.value, variable.field)
		}
	}
	if len(a.Root.Parts) == 0 {
		c.Problem("%s has no parts", a.Name)
	}
	c.at("parts").unique("part", nil, a.Root.Parts)
}

// folders checks a list of folders of kernel-configs, which may not be among some others.
func (c checker) folders(others, names []string) {
	c.unique("folder", others, names)
	for i, folder := range names {
		info, err := fs.Stat(c.tree, path.Join("kernel-configs", folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.At(i).Problem("%w", err)
		} else if err != nil || !info.IsDir() {
			c.At(i).Problem("no folder kernel-configs/%s", folder)
		}
	}
}

// family is the content of one assets.yaml.
type family struct {
	Family  string  `yaml:"family"`
	Builder Builder `yaml:"builder"`
	Steps   []Step  `yaml:"steps"`
	Checks  Checks  `yaml:"checks"`
	Assets  []Asset `yaml:"assets"`
}

// loadFamily reads one assets.yaml and checks it on its own.
func loadFamily(tree fs.FS, file string) ([]Asset, error) {
	var f family
	root, err := strictyaml.ReadFile(tree, file, &f)
	if err != nil {
		return nil, err
	}
	folder := path.Dir(file)
	checker{root, tree, folder}.family(f)
	if err := root.Err(); err != nil {
		return nil, err
	}
	for i := range f.Assets {
		asset := &f.Assets[i]
		asset.Family, asset.Folder, asset.Pos = f.Family, folder, root.At("assets", i).Pos()
		asset.Checks = f.Checks.with(asset.Checks)
		if asset.Import != nil {
			continue
		}
		asset.Builder = f.Builder
		asset.Builder.Packages = slices.Concat(f.Builder.Packages, asset.Packages)
		if len(asset.Steps) == 0 {
			asset.Steps = f.Steps
		}
	}
	return f.Assets, nil
}
