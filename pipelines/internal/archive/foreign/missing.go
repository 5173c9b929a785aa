package foreign

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

func (t *taker) missing(m Member) error {
	switch {
	case slices.Equal(t.names, []string{Program}):
		return fmt.Errorf("it is a program, not an archive that has %q: name a program that is not packed %q", m.From, Program)
	case m.From == Program:
		return fmt.Errorf("%q is a program that is not packed, but it is an archive: name one of its %d members", m.From, t.seen)
	}
	folder := strings.TrimSuffix(m.From, "/")
	if slices.Contains(t.names, folder) || slices.ContainsFunc(t.names, func(name string) bool { return strings.HasPrefix(name, folder+"/") }) {
		return fmt.Errorf("%q is a folder in the archive: select what is in it with %q", m.From, folder+"/**")
	}
	if IsPattern(m.From) {
		return fmt.Errorf("nothing matches %q%s", m.From, t.hint(m.From))
	}
	return fmt.Errorf("no member %q%s", m.From, t.hint(m.From))
}

// hint suggests members: those with the same file name in other folders, or else the
// most similar one.
func (t *taker) hint(from string) string {
	var same []string
	for _, name := range t.names {
		if path.Base(name) == path.Base(from) && len(same) < 3 {
			same = append(same, fmt.Sprintf("%q", name))
		}
	}
	if len(same) > 0 {
		return "; it has " + strings.Join(same, ", ")
	}
	if hint := nearest.Hint(from, t.names); hint != "" {
		return hint
	}
	return fmt.Sprintf(" among its %d", t.seen)
}
