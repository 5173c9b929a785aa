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

// union holds the members of all components, by name without a slash at the end. A
// directory belongs to the first component that needs it.
type union struct {
	owners map[string]owner
	// length is that of the names of all directories.
	length   int
	problems []error
}

type owner struct {
	name   string
	member Member
}

// extrasName is the owner of the extras, in errors.
const extrasName = "the merge itself"

// unite returns the directories that the members of all parts need. The error lists
// what does not fit together.
func unite(parts []Part, extras []Extra) ([]Member, error) {
	u := &union{owners: map[string]owner{}}
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
	for _, name := range slices.Sorted(maps.Keys(u.owners)) {
		o := u.owners[name]
		if there, _ := u.leads(name, maxHops); !there { // All but links lead to themselves.
			as := ""
			if wantsFolder(o.member.Link) {
				as = " as a directory"
			}
			u.problem("%s of %s links to %s, which no component has%s", name, o.name, o.member.Link, as)
		}
	}
	if n := len(u.problems); n > maxProblems {
		u.problems = append(u.problems[:maxProblems], fmt.Errorf("and %d more problems", n-maxProblems))
	}
	return u.directories(), errors.Join(u.problems...)
}

func (u *union) problem(format string, args ...any) {
	u.problems = append(u.problems, fmt.Errorf(format, args...))
}

func (u *union) add(part string, m Member) {
	for folder := range above(m.Name) {
		u.put(part, folder, Member{Name: folder + "/", Mode: fs.ModeDir | 0o755})
	}
	u.put(part, strings.TrimSuffix(m.Name, "/"), m)
}

func (u *union) put(part, name string, m Member) {
	o, there := u.owners[name]
	switch {
	case m.Mode.IsDir() && (there && o.member.Mode.IsDir() || u.length > maxIndex):
	case m.Mode.IsDir():
		if there {
			u.problem("%s is %s in %s and a directory in %s", name, kindOf(o.member), o.name, part)
		}
		u.owners[name] = owner{part, m}
		if u.length += len(name); u.length > maxIndex {
			u.problem("the names of all directories take more than %d bytes, from %s on", maxIndex, part)
		}
	case !there:
		u.owners[name] = owner{part, m}
	case o.member.Mode.IsDir():
		u.problem("%s is %s in %s and a directory in %s", name, kindOf(m), part, o.name)
	case part == extrasName:
		u.problem("%s is in %s, and the merge adds it", name, o.name)
	default:
		u.problem("%s is in %s and in %s: %s", name, o.name, part, difference(o.member, m))
	}
}

func (u *union) directories() []Member {
	var members []Member
	for _, o := range u.owners {
		if o.member.Mode.IsDir() {
			members = append(members, o.member)
		}
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
	o, there := u.owners[name]
	folder = o.member.Mode.IsDir() || name == "./." || name == "./"
	return there || folder, folder
}

// wantsFolder tells whether a link can only lead to a folder.
func wantsFolder(link string) bool {
	return strings.HasSuffix(link, "/") || strings.HasSuffix(link, "/.")
}

func kindOf(m Member) string {
	if m.Link != "" {
		return "a link"
	}
	return "a file"
}

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
