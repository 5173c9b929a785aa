package foreign

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// Member says what to take out of an archive, and what becomes of it.
type Member struct {
	// From is a name in the archive, or a pattern of names: *, ? and [] match within the
	// name of a file or folder, ** any number of folders. With a slash at its end it is a
	// folder without its content. Program is a bare program.
	From string
	// To is the path of the one file that From selects. With a slash at its end it is
	// the folder for all that From selects, at the paths below its part without patterns;
	// only a slash is the root.
	To string
	// Mode is that of the files; 0 is 0755 for a file that is executable in the archive,
	// and for a program where the archive has no modes, and 0644 for others.
	Mode fs.FileMode
	// Installed also selects what has its final path already, as in a tarball or a
	// folder that another build of the same asset made.
	Installed bool
}

// Program is the name of a bare program, which has none.
const Program = "."

// IsPattern reports whether a From may select several members.
func IsPattern(from string) bool { return strings.ContainsAny(from, `*?[\`) }

// Target is the pattern of the paths that the member becomes.
func (m Member) Target() string {
	if !strings.HasSuffix(m.To, "/") {
		return m.To
	}
	if strings.HasSuffix(m.From, "/") {
		return m.To
	}
	_, rest := split(m.From)
	return m.To + rest
}

// split cuts a pattern into the folders without patterns, and the rest.
func split(pattern string) (folder, rest string) {
	names := strings.Split(pattern, "/")
	n := slices.IndexFunc(names, IsPattern)
	if n < 0 {
		n = len(names) - 1
	}
	return strings.Join(names[:n], "/"), strings.Join(names[n:], "/")
}

// place returns where an entry goes, "" if the member does not select it.
func (m Member) place(name string, isDir bool) string {
	if to := m.placeBy(m.From, name, isDir); to != "" || !m.Installed {
		return to
	}
	return m.placeBy(m.Target(), name, isDir)
}

// placeBy is place for a pattern.
func (m Member) placeBy(pattern, name string, isDir bool) string {
	folder, isFolder := strings.CutSuffix(pattern, "/")
	switch {
	case isFolder && isDir && name == folder:
		return strings.TrimSuffix(m.To, "/")
	case isFolder, !Match(pattern, name), isDir && !IsPattern(pattern):
		return ""
	case !strings.HasSuffix(m.To, "/"):
		if isDir {
			return ""
		}
		return m.To
	}
	above, _ := split(pattern)
	below := strings.TrimPrefix(strings.TrimPrefix(name, above), "/")
	if below == "" && !isDir { // A file is not what is in it.
		return ""
	}
	return strings.Trim(m.To+below, "/")
}

// Match reports whether a pattern matches a name.
func Match(pattern, name string) bool {
	return match(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func match(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return match(pattern[1:], name) || len(name) > 0 && match(pattern, name[1:])
	case len(name) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return ok && err == nil && match(pattern[1:], name[1:])
}

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

// maxLink bounds the target of a link, and how many links one can lead through.
const maxLink = 4096

// hardLink copies the file that a hard link is another name of.
func (t *taker) hardLink(e entry, taken Taken) (Taken, error) {
	i, found := t.files[path.Clean(e.hard)]
	if !found || i == len(t.taken) { // It may name itself.
		return taken, fmt.Errorf("it is a hard link to %s, which is not among the selected members: select that", e.hard)
	}
	to, original := strings.TrimPrefix(taken.Name, "./"), t.taken[i]
	taken.Member = original.Member
	taken.Name = "./" + to
	if t.root == nil {
		return taken, nil
	}
	file, err := t.root.Open(original.Name)
	if err != nil {
		return taken, err
	}
	defer file.Close()
	return taken, t.write(&taken, to, file)
}

// checkLink refuses a link that does not lead to what was taken.
func (t *taker) checkLink(m Taken) error {
	for at, steps := m, 0; steps < maxLink; steps++ {
		target := path.Join(path.Dir(at.Name), at.Link)
		i, found := t.at[target]
		switch {
		case path.IsAbs(at.Link) || !found && t.folders[target] == "":
			return fmt.Errorf("%s of the archive links to %s, which is not among the selected members: select its target as well, or leave it out", at.From, at.Link)
		case !found || t.taken[i].Mode.Type() != fs.ModeSymlink:
			return nil
		}
		at = t.taken[i]
	}
	return fmt.Errorf("%s of the archive links to %s, and that back to itself: leave it out", m.From, m.Link)
}
