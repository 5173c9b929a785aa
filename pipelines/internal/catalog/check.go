package catalog

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// form is the syntax of a kind of name.
type form struct {
	pattern *regexp.Regexp
	want    string
}

var (
	plainName    = form{regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`), "lower-case letters, digits and single dashes"}
	variableName = form{regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`), "upper-case letters, digits and underscores"}
	packageName  = form{regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(/[a-z][a-z0-9-]*)?$`), "the name of a Debian package, and :ARCH or /SUITE if those are not the builder's"}
	imageName    = form{regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`), "NAME:TAG@sha256:<64 hex digits>"}
)

// checker checks a part of a file.
type checker struct {
	strictyaml.Node
	// tree has the files of the folder, relative to its root.
	tree   fs.FS
	folder string
}

// at returns the checker of a part, by field names and list positions.
func (c checker) at(steps ...any) checker {
	c.Node = c.At(steps...)
	return c
}

// name checks the syntax of a name.
func (c checker) name(what, name string, form form) {
	if !form.pattern.MatchString(name) {
		c.Problem("%s %q: want %s", what, name, form.want)
	}
}

// unique checks that no name is in the list twice, or among some others.
func (c checker) unique(what string, others, names []string) {
	for i, name := range names {
		if slices.Contains(names[:i], name) || slices.Contains(others, name) {
			c.At(i).Problem("duplicate %s %s", what, name)
		}
	}
}

// arch checks the name of an architecture.
func (c checker) arch(arch Arch) {
	if parsed, err := ParseArch(string(arch)); err != nil {
		c.Problem("%w", err)
	} else if parsed != arch {
		c.Problem("write %s as %s", arch, parsed)
	}
}

// path checks that a declared path is in the folder and exists.
func (c checker) path(what, name string) {
	if !c.inside(what, name) {
		return
	}
	_, err := fs.Stat(c.tree, path.Join(c.folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		c.Problem("%s %s does not exist", what, name)
	} else if err != nil {
		c.Problem("%s: %w", what, err)
	}
}

func (c checker) inside(what, name string) bool {
	ok := name != "" && fs.ValidPath(name)
	if !ok {
		c.Problem("%s %q: want a path inside %s", what, name, c.folder)
	}
	return ok
}
