package catalog

import (
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Import takes an asset out of an archive that is published elsewhere, in place of steps.
type Import struct {
	// Source is the path of a source of assets/sources.yaml, "" for content of the caller's.
	Source string `yaml:"source"`
	// Members maps names in the archive, or patterns of names, to paths in the tarball: see
	// package foreign. Variables are the pins of the asset, ${ARCH}, ${GOARCH} and ${KERNEL_ARCH}.
	Members map[string]string `yaml:"members"`
	// Modes are the modes of members, by path in the tarball: "0755" or "0644".
	Modes map[string]string `yaml:"modes"`
}

// Name is the last part of the source's path without variables: the name for --source.
func (i Import) Name() string {
	path := strings.TrimRight(variable.ReplaceAllString(i.Source, ""), ".-_")
	return path[strings.LastIndexByte(path, '.')+1:]
}

// on returns the import with its names on an architecture.
func (i Import) on(names *strings.Replacer) *Import {
	on := &Import{Source: names.Replace(i.Source), Members: map[string]string{}, Modes: map[string]string{}}
	for from, to := range i.Members {
		on.Members[names.Replace(from)] = names.Replace(to)
	}
	for to, mode := range i.Modes {
		on.Modes[names.Replace(to)] = mode
	}
	return on
}

// imports checks the import of an asset.
func (c checker) imports(a Asset) {
	for _, other := range []struct {
		field string
		set   bool
	}{
		{"steps", len(a.Steps) > 0}, {"sources", len(a.Sources) > 0}, {"options", len(a.Options) > 0}, {"files", len(a.Files) > 0},
		{"dependencies", len(a.Dependencies) > 0}, {"arch_dependencies", len(a.ArchDependencies) > 0}, {"packages", len(a.Packages) > 0}, {"outputs", len(a.Outputs) > 0},
		{"images", len(a.Images) > 0},
		{"secrets", len(a.Secrets) > 0}, {"kernel", a.Kernel != nil}, {"program", a.Program != ""}, {"go", a.Go != ""}, {"root", a.Root != nil},
	} {
		if other.set {
			c.At(other.field).Problem("%s is imported: it cannot have %s, which are for steps", a.Name, other.field)
		}
	}
	at := c.at("import")
	if a.Import.Source == "" {
		at.Problem("%s: the import has no source: name one of assets/sources.yaml", a.Name)
	}
	at.at("source").variables(a.Import.Source, nil)
	if len(a.Import.Members) == 0 {
		at.Problem("%s: the import has no members: name some of the archive", a.Name)
	}
	for _, from := range slices.Sorted(maps.Keys(a.Import.Members)) {
		at.at("members", from).selected(a, from, a.Import.Members[from])
	}
	at.at("members").targets(a.Import.Members)
	for i, run := range a.Checks.Runs {
		if !a.Import.gives(run.File) {
			c.At("checks", "runs", i).Problem("no member becomes %s", run.File)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(a.Checks.Libraries)) {
		if !a.Import.gives(file) {
			c.At("checks", "libraries", file).Problem("no member becomes %s", file)
		}
	}
	targets := slices.Collect(maps.Values(a.Import.Members))
	for _, to := range slices.Sorted(maps.Keys(a.Import.Modes)) {
		mode := at.at("modes", to)
		if !slices.Contains(targets, to) {
			mode.Problem("no member becomes %s", to)
		}
		if value := a.Import.Modes[to]; value != "0755" && value != "0644" {
			mode.Problem("mode is %q: want 0755 or 0644", value)
		}
	}
}

// gives reports whether a file can be a member of the tarball.
func (i Import) gives(file string) bool {
	for _, to := range i.Members {
		fixed, _, variable := strings.Cut(to, "${")
		folder := strings.TrimSuffix(to, "/") + "/"
		if variable && strings.HasPrefix(file, fixed) || file == to || strings.HasPrefix(file, folder) {
			return true
		}
	}
	return false
}

// selected checks a member of an import.
func (c checker) selected(a Asset, from, to string) {
	if name := strings.TrimSuffix(strings.TrimPrefix(from, "./"), "/"); !fs.ValidPath(name) || from == "./" {
		c.Problem("member %q: want a name in the archive, such as folder/file or folder/**, or . for a program that is not packed", from)
	}
	if _, err := path.Match(from, ""); err != nil {
		c.Problem("member %q: the pattern is malformed", from)
	}
	if !strings.Contains(to, "/") || !fs.ValidPath(strings.TrimSuffix(to, "/")) {
		c.Problem("member %q becomes %q: want a path in a folder of the tarball, such as opt/kata/bin/NAME", from, to)
	}
	if strings.ContainsAny(to, `*?[\`) || strings.ContainsFunc(to, unicode.IsControl) {
		c.Problem("member %q becomes %q: want a path without patterns and control characters; end a folder with a slash", from, to)
	}
	if strings.HasSuffix(from, "/") && !strings.HasSuffix(to, "/") {
		c.Problem("member %q is a folder: end %q with a slash as well", from, to)
	}
	c.variables(from+" "+to, a.Pins)
}

// targets refuses members that cannot all be taken: for the same path, for one below a
// file, or of a program that is not packed.
func (c checker) targets(members map[string]string) {
	names, files := slices.Sorted(maps.Keys(members)), map[string]string{}
	for _, from := range names {
		to := members[from]
		if other, found := files[to]; found {
			c.At(from).Problem("members %q and %q both become %s: name one of them", other, from, to)
		}
		if !strings.HasSuffix(to, "/") {
			files[to] = from
		}
	}
	for _, from := range names {
		for folder := path.Dir(members[from]); len(folder) > 1; folder = path.Dir(folder) {
			if other, found := files[folder]; found {
				c.At(from).Problem("member %q becomes %s, but member %q becomes the file %s", from, members[from], other, folder)
			}
		}
	}
	if _, program := members["."]; program && len(members) > 1 {
		c.At(".").Problem("member \".\" is a program that is not packed: it cannot have other members next to it")
	}
}

// variable is ${NAME} in a text.
var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// variables checks that all variables of a text are known.
func (c checker) variables(text string, pins map[string]string) {
	known := append(slices.Sorted(maps.Keys(pins)), "ARCH", "GOARCH", "KERNEL_ARCH")
	for _, found := range variable.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(known, found[1]) {
			c.Problem("unknown variable %s; there are %s", found[0], strings.Join(known, ", "))
		}
	}
}
