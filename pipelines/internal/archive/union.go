package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxProblems is how many conflicts an error names.
const maxProblems = 20

// union has the members of all components, by name without a slash at the end.
type union struct {
	owners map[string]owner
	// folders has the first component that needs each directory.
	folders map[string]string
	// length is that of all names in folders.
	length   int
	problems []error
}

// owner is the component that has a file or link.
type owner struct {
	name   string
	member Member
}

// extrasName is the owner of the extras, in errors.
const extrasName = "the merge itself"

// unite puts the members of all parts together, and returns the directories that
// they need. The error says what does not fit.
func unite(parts []Part, extras []Extra) ([]Member, error) {
	u := &union{owners: map[string]owner{}, folders: map[string]string{}}
	for _, part := range parts {
		for _, m := range part.index.Members() {
			u.add(part.Name, m)
		}
	}
	for _, extra := range extras {
		m := Member{Name: extra.Name, Mode: 0o644}
		if err := CheckMember(m); err != nil {
			u.problems = append(u.problems, err)
			continue
		}
		u.add(extrasName, m)
	}
	u.check()
	if n := len(u.problems); n > maxProblems {
		u.problems = append(u.problems[:maxProblems], fmt.Errorf("and %d more problems", n-maxProblems))
	}
	return u.directories(), errors.Join(u.problems...)
}

// check refuses files where others need a directory, and links to nothing.
func (u *union) check() {
	names := slices.Sorted(maps.Keys(u.owners))
	for _, name := range names {
		if folder, both := u.folders[name]; both {
			u.problem("%s is %s in %s and a directory in %s", name, kindOf(u.owners[name].member), u.owners[name].name, folder)
		}
	}
	for _, name := range names {
		o := u.owners[name]
		if o.member.Link == "" {
			continue
		}
		if there, _ := u.leads(name, maxHops); !there {
			u.problem("%s of %s links to %s, which no component has%s", name, o.name, o.member.Link, asFolder(o.member.Link))
		}
	}
}

func (u *union) problem(format string, args ...any) {
	u.problems = append(u.problems, fmt.Errorf(format, args...))
}

// add notes a member.
func (u *union) add(part string, m Member) {
	name := strings.TrimSuffix(m.Name, "/")
	for folder := range above(m.Name) {
		u.folder(folder, part)
	}
	if m.Mode.IsDir() {
		u.folder(name, part)
		return
	}
	o, there := u.owners[name]
	switch {
	case !there:
		u.owners[name] = owner{part, m}
	case part == extrasName:
		u.problem("%s is in %s, and the merge adds it", name, o.name)
	default:
		u.problem("%s is in %s and in %s: %s", name, o.name, part, difference(o.member, m))
	}
}

// folder notes that a part needs one.
func (u *union) folder(name, part string) {
	if u.folders[name] != "" || u.length > maxIndex {
		return
	}
	u.folders[name] = part
	if u.length += len(name); u.length > maxIndex {
		u.problem("the names of all directories take more than %d bytes, from %s on", maxIndex, part)
	}
}

// directories returns the members for all directories, in order.
func (u *union) directories() []Member {
	var members []Member
	for name := range u.folders {
		members = append(members, Member{Name: name + "/", Mode: fs.ModeDir | 0o755})
	}
	slices.SortFunc(members, order)
	return members
}

// maxHops is how many links Linux follows.
const maxHops = 40

// leads tells whether a path exists, through links at any step of it, and whether
// it is a folder. No member is below a link, so the folder of a link is a real one.
func (u *union) leads(name string, hops int) (there, folder bool) {
	for at := range above(name + "/_") {
		o, is := u.owners[at]
		if !is || o.member.Link == "" {
			continue
		}
		if hops == 0 {
			return false, false
		}
		rest := strings.TrimPrefix(name, at)
		there, folder = u.leads("./"+path.Join(path.Dir(at), o.member.Link, rest), hops-1)
		return there && (folder || rest != "" || !wantsFolder(o.member.Link)), folder
	}
	_, file := u.owners[name]
	folder = u.folders[name] != "" || name == "./." || name == "./"
	return file || folder, folder
}

// wantsFolder tells whether a link can only lead to a folder.
func wantsFolder(link string) bool {
	return strings.HasSuffix(link, "/") || strings.HasSuffix(link, "/.")
}

func asFolder(link string) string {
	if wantsFolder(link) {
		return " as a directory"
	}
	return ""
}

func kindOf(m Member) string {
	if m.Link != "" {
		return "a link"
	}
	return "a file"
}

// difference says how two members of one name differ.
func difference(a, b Member) string {
	switch {
	case a == b:
		return "the same in both; ship it in one of them"
	case a.Mode.Type() != b.Mode.Type():
		return kindOf(a) + " and " + kindOf(b)
	case a.Link != b.Link:
		return "links to " + a.Link + " and to " + b.Link
	case a.Size != b.Size:
		return fmt.Sprintf("files of %d and %d bytes", a.Size, b.Size)
	case a.SHA256 != b.SHA256:
		return fmt.Sprintf("files of %d bytes with sha256 %.12s… and %.12s…", a.Size, a.SHA256, b.SHA256)
	}
	return fmt.Sprintf("modes %s and %s", a.Mode, b.Mode)
}
