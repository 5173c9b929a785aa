package versions

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// problem is one thing wrong in a file: what, where, and what to do about it.
type problem struct {
	line, column int
	text         string
}

// problems collects everything wrong in one file, so that a user sees it at once.
type problems []problem

func (p *problems) at(node *yaml.Node, format string, args ...any) {
	*p = append(*p, problem{node.Line, node.Column, fmt.Sprintf(format, args...)})
}

// join returns one error with a line "file:line:column: text" for each problem,
// in the order of the file, or nil.
func (p problems) join(file string) error {
	slices.SortStableFunc(p, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	errs := make([]error, len(p))
	for i, problem := range p {
		errs[i] = fmt.Errorf("%s:%d:%d: %s", file, problem.line, problem.column, problem.text)
	}
	return errors.Join(errs...)
}
