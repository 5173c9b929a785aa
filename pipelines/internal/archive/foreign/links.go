package foreign

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

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
