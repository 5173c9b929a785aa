package catalog

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

var (
	validName    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	validEnv     = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	validImage   = regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`)
	validPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
)

// ReservedEnv are the variables that the program itself gives to every step;
// see assets/README.md. Pins and options may not set them.
var ReservedEnv = []string{
	"ARCH", "BUILD", "CCACHE_DIR", "CCACHE_DISABLE", "CROSS_COMPILE", "DEPENDENCIES", "DESTDIR", "FILES", "HOME", "JOBS", "KATA_CONFIG_VERSION",
	"KATA_REBUILD", "KERNEL_ARCH", "LC_ALL", "MACHINE", "OUTPUTS", "PATH", "REQUESTED_CONFIG", "SOURCES", "SOURCE_DATE_EPOCH", "SUFFIX", "TZ",
}

// reservedNames are those that the cache has for other things than assets.
var reservedNames = []string{"builder", "sources"}

// checker collects the problems of one assets.yaml.
type checker struct {
	tree     fs.FS
	file     string
	root     strictyaml.Node
	problems []error
}

func (c *checker) at(steps ...any) string {
	return fmt.Sprintf("%s:%d", c.file, c.root.Line(steps...))
}

func (c *checker) problem(where string, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s: "+format, append([]any{where}, args...)...))
}

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
		c.asset(i, asset)
		c.packages(f.Builder.Packages, asset.Packages, "assets", i, "packages")
		c.steps(asset.Steps, "assets", i, "steps")
	}
}

func (c *checker) builder(b Builder) {
	if b.Distribution != "debian" {
		c.problem(c.at("builder", "distribution"), "distribution is %q: only debian is known", b.Distribution)
	}
	if b.Suite == "" {
		c.problem(c.at("builder"), "the builder has no suite: name a release of the distribution")
	}
	if !validImage.MatchString(b.Image) {
		c.problem(c.at("builder", "image"), "image is %q: want NAME:TAG@sha256:<64 hex digits>", b.Image)
	}
	if b.Epoch < 1 {
		c.problem(c.at("builder", "epoch"), "epoch is %d: it starts at 1", b.Epoch)
	}
	c.packages(nil, b.Packages, "builder", "packages")
	for _, arch := range slices.Sorted(maps.Keys(b.Cross)) {
		c.arch(arch, "builder", "cross", string(arch))
		c.packages(b.Packages, b.Cross[arch], "builder", "cross", string(arch))
	}
}

// packages checks a list, whose packages may not be among others either.
func (c *checker) packages(others, names []string, steps ...any) {
	for i, name := range names {
		where := c.at(append(slices.Clip(steps), i)...)
		if !validPackage.MatchString(name) {
			c.problem(where, "%q is no package name", name)
		}
		if slices.Contains(names[:i], name) || slices.Contains(others, name) {
			c.problem(where, "package %s stands twice", name)
		}
	}
}

// arch checks the name of an architecture.
func (c *checker) arch(arch Arch, steps ...any) {
	if parsed, err := ParseArch(string(arch)); err != nil {
		c.problem(c.at(steps...), "%w", err)
	} else if parsed != arch {
		c.problem(c.at(steps...), "write %s as %s", arch, parsed)
	}
}

// steps checks the list that stands below some fields.
func (c *checker) steps(list []Step, fields ...any) {
	for i, step := range list {
		c.step(list[:i], step, append(slices.Clip(fields), i)...)
	}
}

func (c *checker) step(before []Step, step Step, fields ...any) {
	where := c.at(fields...)
	if !validName.MatchString(step.Name) {
		c.problem(where, "step name %q: want lower case letters, digits and dashes", step.Name)
	}
	if slices.ContainsFunc(before, func(s Step) bool { return s.Name == step.Name }) {
		c.problem(where, "step %s stands twice", step.Name)
	}
	c.path(where, "script", step.Script)
	if step.Alone && len(before) > 0 && !before[len(before)-1].Alone {
		c.problem(where, "step %s is alone: put it before those that are not", step.Name)
	}
	if step.Alone && step.Config != "" {
		c.problem(where, "step %s is alone and has a config: no step knows the asset's options without its files", step.Name)
	}
	if !step.Alone && len(step.Files) > 0 {
		c.problem(where, "step %s has files of its own: only steps that are alone do, others have those of the asset", step.Name)
	}
	for _, name := range step.Files {
		if !fs.ValidPath(name) {
			c.problem(where, "file %q: want a path inside %s", name, path.Dir(c.file))
		}
	}
}

func (c *checker) asset(i int, a Asset) {
	where := c.at("assets", i)
	if !validName.MatchString(a.Name) {
		c.problem(where, "asset name %q: want lower case letters, digits and single dashes", a.Name)
	}
	if slices.Contains(reservedNames, a.Name) {
		c.problem(where, "no asset can be called %s: the cache keeps other things there", a.Name)
	}
	if a.Description == "" {
		c.problem(where, "%s has no description", a.Name)
	}
	if len(a.Arches) == 0 {
		c.problem(where, "%s has no arches", a.Name)
	}
	for j, arch := range a.Arches {
		c.arch(arch, "assets", i, "arches", j)
		if slices.Contains(a.Arches[:j], arch) {
			c.problem(c.at("assets", i, "arches", j), "%s stands twice", arch)
		}
	}
	c.environment(i, a)
	for _, name := range slices.Sorted(maps.Keys(a.Sources)) {
		if !validName.MatchString(name) {
			c.problem(c.at("assets", i, "sources", name), "source name %q: want lower case letters, digits and dashes", name)
		}
	}
	for j, file := range a.Files {
		c.path(c.at("assets", i, "files", j), "file", file)
	}
	for j, name := range a.Outputs {
		if !validName.MatchString(name) {
			c.problem(c.at("assets", i, "outputs", j), "output name %q: want lower case letters, digits and dashes", name)
		}
		if slices.Contains(a.Outputs[:j], name) {
			c.problem(c.at("assets", i, "outputs", j), "output %s stands twice", name)
		}
	}
	if a.Verify != "" && !slices.Contains(Kinds, a.Verify) {
		c.problem(c.at("assets", i, "verify"), "verify is %q: known are %s%s", a.Verify, strings.Join(Kinds, ", "), nearest.Hint(a.Verify, Kinds))
	}
	if a.Verify != "" && a.Kernel != nil {
		c.problem(c.at("assets", i, "verify"), "%s is a kernel, which has a proof of its own: leave out verify", a.Name)
	}
	if a.Disk < 0 {
		c.problem(c.at("assets", i, "disk"), "disk is %d GiB", a.Disk)
	}
	if a.Kernel != nil {
		c.kernel(i, a)
	}
}

func (c *checker) environment(i int, a Asset) {
	for _, name := range slices.Sorted(maps.Keys(a.Pins)) {
		c.variable(c.at("assets", i, "pins", name), name)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Options)) {
		where := c.at("assets", i, "options", name)
		c.variable(where, name)
		if _, pinned := a.Pins[name]; pinned {
			c.problem(where, "%s is a pin and an option", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Secrets)) {
		where := c.at("assets", i, "secrets", name)
		c.variable(where, name)
		if _, option := a.Options[name]; option || a.Pins[name] != "" {
			c.problem(where, "%s is a secret, and a pin or an option", name)
		}
		c.path(where, "certificate", a.Secrets[name])
	}
}

func (c *checker) variable(where, name string) {
	switch {
	case !validEnv.MatchString(name):
		c.problem(where, "variable %q: want upper case letters, digits and underscores", name)
	case slices.Contains(ReservedEnv, name):
		c.problem(where, "variable %s is set by the program itself", name)
	}
}

func (c *checker) kernel(i int, a Asset) {
	where := c.at("assets", i, "kernel")
	if len(a.Kernel.Configs) == 0 {
		c.problem(where, "%s names no configs", a.Name)
	}
	c.folders(nil, a.Kernel.Configs, "assets", i, "kernel", "configs")
	for _, arch := range slices.Sorted(maps.Keys(a.Kernel.ArchConfigs)) {
		if !slices.Contains(a.Arches, arch) {
			c.problem(c.at("assets", i, "kernel", "arch_configs", string(arch)), "%s does not exist on %s", a.Name, arch)
		}
		c.folders(a.Kernel.Configs, a.Kernel.ArchConfigs[arch], "assets", i, "kernel", "arch_configs", string(arch))
	}
	if a.Kernel.Suffix != "" && !validName.MatchString(a.Kernel.Suffix) {
		c.problem(c.at("assets", i, "kernel", "suffix"), "suffix %q: want lower case letters, digits and dashes", a.Kernel.Suffix)
	}
	if _, ok := a.Pins[a.Kernel.Version]; !ok {
		c.problem(where, "version is %q: name the pin that holds the kernel's version", a.Kernel.Version)
	}
}

// folders checks a list of folders of kernel-configs, which may not be among
// others either.
func (c *checker) folders(others, names []string, steps ...any) {
	for j, folder := range names {
		where := c.at(append(slices.Clip(steps), j)...)
		if slices.Contains(names[:j], folder) || slices.Contains(others, folder) {
			c.problem(where, "folder %s stands twice", folder)
		}
		if info, err := fs.Stat(c.tree, path.Join("kernel-configs", folder)); err != nil || !info.IsDir() {
			c.problem(where, "no folder kernel-configs/%s", folder)
		}
	}
}

// path checks that a declared path stays in the family's folder and exists.
func (c *checker) path(where, what, name string) {
	if name == "" || !fs.ValidPath(name) {
		c.problem(where, "%s %q: want a path inside %s", what, name, path.Dir(c.file))
		return
	}
	if _, err := fs.Stat(c.tree, path.Join(path.Dir(c.file), name)); err != nil {
		c.problem(where, "%s %s: %w", what, name, cause(err))
	}
}

func (c *Catalog) checkNames() []error {
	var problems []error
	for i := 1; i < len(c.Assets); i++ {
		if a, b := c.Assets[i-1], c.Assets[i]; a.Name == b.Name {
			problems = append(problems, fmt.Errorf("%s: asset %s is declared at %s already", b.Pos, b.Name, a.Pos))
		}
	}
	return append(problems, c.checkTarballs()...)
}

// checkTarballs refuses two tarballs of one file name, and so two dependencies
// of one name for a step.
func (c *Catalog) checkTarballs() []error {
	var problems []error
	declared := map[string]string{}
	for _, asset := range c.Assets {
		declared[asset.Name] = asset.Pos
	}
	for _, asset := range c.Assets {
		for _, output := range asset.Outputs {
			name := asset.Name + "-" + output
			if other, found := declared[name]; found {
				problems = append(problems, fmt.Errorf("%s: the output %s of %s has the tarball of %s, declared at %s", asset.Pos, output, asset.Name, name, other))
			}
			declared[name] = asset.Pos
		}
	}
	return problems
}

// checkDependencies follows every dependency on every architecture.
func (c *Catalog) checkDependencies() []error {
	var problems []error
	for _, asset := range c.Assets {
		for _, name := range asset.Dependencies {
			if !slices.Contains(c.Names(), name) {
				problems = append(problems, fmt.Errorf("%s: %s depends on an unknown asset %q%s",
					asset.Pos, asset.Name, name, nearest.Hint(name, c.Names())))
				continue
			}
			for _, arch := range asset.Arches {
				if _, err := c.Find(name, arch); err != nil {
					problems = append(problems, fmt.Errorf("%s: %s on %s: %w", asset.Pos, asset.Name, arch, err))
				}
			}
		}
		if cycle := c.cycle(asset.Name, nil); cycle != nil && cycle[0] == asset.Name {
			problems = append(problems, fmt.Errorf("%s: circular dependency: %s", asset.Pos, strings.Join(cycle, " -> ")))
		}
	}
	return problems
}

// cycle returns the first circular chain of dependencies reached from name.
func (c *Catalog) cycle(name string, chain []string) []string {
	if i := slices.Index(chain, name); i >= 0 {
		return append(chain[i:], name)
	}
	for _, asset := range c.Assets {
		if asset.Name != name {
			continue
		}
		for _, dependency := range asset.Dependencies {
			if cycle := c.cycle(dependency, append(slices.Clip(chain), name)); cycle != nil {
				return cycle
			}
		}
	}
	return nil
}
