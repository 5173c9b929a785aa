package foreign

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

type entry struct {
	name string
	mode fs.FileMode
	// hard is the member that a hard link is another name of. The target of a symbolic link
	// is its content.
	hard string
	// modeless says that the archive has no modes.
	modeless bool
}

const (
	// maxNames bounds the names that are kept for the hints of errors.
	maxNames = 1 << 16
	// maxTaken bounds what a small archive can unpack to, in bytes.
	maxTaken = 64 << 30
)

type taker struct {
	members []Member
	// root is the folder that is written to, nil to only hash.
	root *os.Root
	// patterns says that a member is a pattern, so that only the end of the archive shows
	// that all was seen.
	patterns bool

	// seen counts the entries so far, names are the first of them.
	seen  int
	names []string
	// size is the number of bytes taken so far.
	size int64
	// found are the names that each member selected.
	found [][]string
	taken []Taken
	// at has the indexes of what was taken by paths, and of files also by names in the
	// archive. folders has a name in the archive for each folder above a path.
	at, files map[string]int
	folders   map[string]string
}

// take reads an archive, and returns what was taken of it.
func take(members []Member, dir string, read func(*taker) error) ([]Taken, error) {
	t := &taker{
		members: slices.Clone(members), found: make([][]string, len(members)),
		at: map[string]int{}, files: map[string]int{}, folders: map[string]string{},
	}
	for _, m := range members {
		t.patterns = t.patterns || IsPattern(m.From)
	}
	if dir != "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		t.root = root
	}
	if err := read(t); err != nil {
		return nil, err
	}
	return t.taken, t.finish()
}

// more reports whether an entry that comes may be selected.
func (t *taker) more() bool {
	return t.patterns || slices.ContainsFunc(t.found, func(names []string) bool { return len(names) == 0 })
}

func (t *taker) program(content io.Reader) error {
	if len(t.members) == 1 && t.members[0].Installed && !strings.HasSuffix(t.members[0].To, "/") {
		t.members[0].From = Program // The caller says that this is the program.
	}
	return t.add(entry{name: Program, modeless: true}, func() (io.ReadCloser, error) { return io.NopCloser(content), nil })
}

func (t *taker) take(e entry, open func() (io.ReadCloser, error)) error {
	name := path.Clean(e.name)
	if !fs.ValidPath(name) || slices.Contains(strings.Split(e.name, "/"), "..") {
		return fmt.Errorf("the archive has a member %q: want relative names that stay inside it", e.name)
	}
	if name == "." {
		return nil
	}
	e.name = name
	return t.add(e, open)
}

func (t *taker) add(e entry, open func() (io.ReadCloser, error)) error {
	if t.seen++; len(t.names) < maxNames {
		t.names = append(t.names, e.name)
	}
	for i, m := range t.members {
		to := m.place(e.name, e.mode.IsDir())
		if to == "" {
			continue
		}
		t.found[i] = append(t.found[i], e.name)
		if len(t.found[i]) > 1 && !strings.HasSuffix(m.To, "/") {
			return fmt.Errorf("%q selects several members, such as %s and %s: name one of them, or end %s with a slash to keep all in that folder",
				m.From, t.found[i][0], e.name, m.To)
		}
		if other, found := t.at[to]; found && e.mode.IsDir() && t.taken[other].Mode.IsDir() {
			continue
		}
		if err := t.claim(e, to); err != nil {
			return err
		}
		taken, err := t.one(e, to, m.Mode, open)
		if err != nil {
			return fmt.Errorf("taking %s: %w", e.name, err)
		}
		t.taken = append(t.taken, taken)
	}
	return nil
}

// claim refuses a path that another entry has, or that would be a folder and something
// else, and keeps it for an entry.
func (t *taker) claim(e entry, to string) error {
	if other, found := t.at[to]; found {
		return fmt.Errorf("%s and %s of the archive both become %s", t.taken[other].From, e.name, to)
	}
	const both = "%s and %s of the archive cannot both be taken: %s would be a folder and something else; select one of them"
	if below, found := t.folders[to]; found && !e.mode.IsDir() {
		return fmt.Errorf(both, below, e.name, to)
	}
	for folder := path.Dir(to); folder != "." && t.folders[folder] == ""; folder = path.Dir(folder) {
		if other, found := t.at[folder]; found && !t.taken[other].Mode.IsDir() {
			return fmt.Errorf(both, t.taken[other].From, e.name, folder)
		}
		t.folders[folder] = e.name
	}
	t.at[to] = len(t.taken)
	if e.mode.IsRegular() {
		t.files[e.name] = len(t.taken)
	}
	return nil
}

func (t *taker) one(e entry, to string, mode fs.FileMode, open func() (io.ReadCloser, error)) (Taken, error) {
	taken := Taken{From: e.name, Member: archive.Member{Name: "./" + to, Mode: e.mode.Type()}}
	isLink := e.mode.Type() == fs.ModeSymlink
	switch {
	case e.hard != "":
		return t.hardLink(e, taken)
	case e.mode.IsDir():
		taken.Name += "/"
		taken.Mode |= 0o755
		return taken, t.makeDir(to)
	case !isLink && !e.mode.IsRegular():
		return taken, fmt.Errorf("it is not a file, a folder or a link (%s)", e.mode)
	}
	content, err := open()
	if err != nil {
		return taken, err
	}
	defer content.Close()
	if isLink { // It is made at the end.
		taken.Mode |= fs.ModePerm
		target, err := io.ReadAll(io.LimitReader(content, maxLink))
		taken.Link = string(target)
		return taken, err
	}
	buffered := bufio.NewReader(content)
	head, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return taken, err
	}
	taken.Mode |= chosen(e, mode, isProgram(head))
	return taken, t.write(&taken, to, buffered)
}

func chosen(e entry, declared fs.FileMode, program bool) fs.FileMode {
	switch {
	case declared != 0:
		return declared
	case e.modeless && program, !e.modeless && e.mode&0o111 != 0:
		return 0o755
	}
	return 0o644
}

// write writes a file, and completes its description.
func (t *taker) write(taken *Taken, to string, content io.Reader) (err error) {
	hash := sha256.New()
	out := io.Writer(hash)
	if t.root != nil {
		if err := t.makeDir(path.Dir(to)); err != nil {
			return err
		}
		file, err := t.root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Chmod(taken.Mode.Perm()), file.Close()) }()
		out = io.MultiWriter(hash, file)
	}
	taken.Size, err = io.Copy(out, io.LimitReader(content, maxTaken-t.size+1))
	if t.size += taken.Size; t.size > maxTaken {
		return fmt.Errorf("the members have more than %d bytes", int64(maxTaken))
	}
	taken.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return err
}

func (t *taker) makeDir(name string) error {
	if t.root == nil {
		return nil
	}
	return t.root.MkdirAll(name, 0o755)
}

// finish makes the links, after it has found what every member selects.
func (t *taker) finish() error {
	var problems []error
	for i, m := range t.members {
		if len(t.found[i]) == 0 {
			problems = append(problems, t.missing(m))
		}
	}
	for _, m := range t.taken {
		if m.Mode.Type() == fs.ModeSymlink {
			problems = append(problems, t.checkLink(m))
		}
	}
	if err := errors.Join(problems...); err != nil || t.root == nil {
		return err
	}
	for _, m := range t.taken {
		if m.Mode.Type() != fs.ModeSymlink {
			continue
		}
		if err := t.makeDir(path.Dir(m.Name)); err != nil {
			return err
		}
		if err := t.root.Symlink(m.Link, m.Name); err != nil {
			return err
		}
	}
	return nil
}
