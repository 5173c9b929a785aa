package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// form is the form of a kind of name.
type form struct {
	pattern *regexp.Regexp
	want    string
}

var (
	plainName    = form{regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`), "lower-case letters, digits and single dashes"}
	variableName = form{regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`), "upper-case letters, digits and underscores"}
	packageName  = form{regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`), "the name of a Debian package"}
	imageName    = form{regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`), "NAME:TAG@sha256:<64 hex digits>"}
)

// checker collects the problems of one file.
type checker struct {
	tree     fs.FS
	file     string
	root     strictyaml.Node
	problems []error
}

// at returns the place of a node, by field names and list positions from the root.
func (c *checker) at(steps ...any) string {
	return fmt.Sprintf("%s:%d", c.file, c.root.Line(steps...))
}

func (c *checker) problem(where string, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s: "+format, append([]any{where}, args...)...))
}

// name checks the form of a name.
func (c *checker) name(where, what, name string, form form) {
	if !form.pattern.MatchString(name) {
		c.problem(where, "%s %q: want %s", what, name, form.want)
	}
}

// unique checks that no name is repeated in the list below the steps, nor is one of
// some others.
func (c *checker) unique(what string, others, names []string, steps ...any) {
	for i, name := range names {
		if slices.Contains(names[:i], name) || slices.Contains(others, name) {
			c.problem(c.at(append(slices.Clip(steps), i)...), "duplicate %s %s", what, name)
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

// path checks that a declared path is in the family's folder and exists.
func (c *checker) path(where, what, name string) {
	if !c.inside(where, what, name) {
		return
	}
	_, err := fs.Stat(c.tree, path.Join(path.Dir(c.file), name))
	if errors.Is(err, fs.ErrNotExist) {
		c.problem(where, "%s %s does not exist", what, name)
	} else if err != nil {
		c.problem(where, "%s: %w", what, err)
	}
}

func (c *checker) inside(where, what, name string) bool {
	ok := name != "" && fs.ValidPath(name)
	if !ok {
		c.problem(where, "%s %q: want a path inside %s", what, name, path.Dir(c.file))
	}
	return ok
}
