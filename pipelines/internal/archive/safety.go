package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hostFiles belong to the machine or container that a tarball is extracted on.
// Container runtimes write them, and a shipped one would break it.
var hostFiles = []string{"etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/mtab", ".dockerenv"}

// hostFolders are file systems of the host's kernel.
var hostFolders = []string{"dev", "proc", "sys"}

// maxName is the longest name or link target in bytes, as on Linux.
const maxName = 4096

// maxDepth is how many folders a member may be in: each of them is looked up.
const maxDepth = 100

// CheckMember refuses members that would land outside the folder they are extracted
// into, or on the host's own files.
func CheckMember(m Member) error {
	if err := checkText(m.Name); err != nil {
		return fmt.Errorf("%q: the name %w", m.Name, err)
	}
	clean := strings.TrimPrefix(m.Name, "./")
	if m.Mode.IsDir() {
		clean = strings.TrimSuffix(clean, "/")
	}
	if "./"+clean != strings.TrimSuffix(m.Name, "/") || clean == "." || !fs.ValidPath(clean) {
		return fmt.Errorf("%q: want a clean name that begins with ./ and stays inside", m.Name)
	}
	if strings.Count(clean, "/") > maxDepth {
		return fmt.Errorf("%.100q… is in more than %d folders", m.Name, maxDepth)
	}
	top, _, _ := strings.Cut(clean, "/")
	if slices.Contains(hostFiles, clean) || slices.Contains(hostFolders, top) {
		return fmt.Errorf("%s belongs to the host: install below ./opt/kata instead", m.Name)
	}
	if m.Mode.Type() == fs.ModeSymlink {
		if err := checkLink(m.Name, m.Link); err != nil {
			return err
		}
	}
	if !m.Mode.IsDir() && clean == top {
		// The host may have a link there, such as /bin.
		return fmt.Errorf("%s is in the root of the host: install below ./opt/kata instead", m.Name)
	}
	return nil
}

// checkLink refuses links that leave the tree. Steps up are allowed only at the
// beginning: they then start from a real folder, and no link on the way down can
// change where they lead.
func checkLink(name, link string) error {
	if err := checkText(link); err != nil {
		return fmt.Errorf("%s: the link target %q %w", name, link, err)
	}
	if strings.IndexFunc(link, func(c rune) bool { return c < utf8.RuneSelf }) < 0 {
		// bsdtar would read a header with an empty target.
		return fmt.Errorf("%s links to %s: use an ASCII letter in it, without which some programs make an empty file", name, link)
	}
	if path.IsAbs(link) {
		return fmt.Errorf("%s links to %s: make the link relative", name, link)
	}
	depth, down := strings.Count(strings.TrimPrefix(name, "./"), "/"), false
	for step := range strings.SplitSeq(link, "/") {
		switch step {
		case "..":
			depth--
			if down {
				return fmt.Errorf("%s links to %s: put the steps up first", name, link)
			}
		case ".", "":
		default:
			down = true
		}
	}
	if depth < 0 {
		return fmt.Errorf("%s links to %s, outside the tree", name, link)
	}
	return nil
}

func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("has control characters")
	}
	return nil
}

// checkNames refuses a name that appears twice, and a member below one that is not
// a directory: extracting would write through a link. If repeat is set, directories
// may appear several times, as other programs write them.
func checkNames(members []Member, repeat bool) error {
	isFolder := make(map[string]bool, len(members))
	for _, m := range members {
		name := strings.TrimSuffix(m.Name, "/")
		if folder, twice := isFolder[name]; twice && (!repeat || !folder || !m.Mode.IsDir()) {
			return fmt.Errorf("duplicate member %s", name)
		}
		isFolder[name] = m.Mode.IsDir()
	}
	for _, m := range members {
		for above := range above(m.Name) {
			if folder, there := isFolder[above]; there && !folder {
				return fmt.Errorf("%s is below %s, which is not a directory", m.Name, above)
			}
		}
	}
	return nil
}

// above yields the names of the directories that a member is in, from the top,
// without slashes at their ends.
func above(name string) iter.Seq[string] {
	name = strings.TrimSuffix(name, "/")
	return func(yield func(string) bool) {
		for i := len("./"); i < len(name); i++ {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}
