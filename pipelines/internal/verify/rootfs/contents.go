package rootfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// packageList is the file of a guest that lists its packages: a line "name version hash
// size" for each. The build writes it.
const packageList = "usr/share/kata-containers/packages"

// contents are those of a root filesystem.
type contents struct {
	// name is that of the image or initrd.
	name    string
	entries []entry
	// packages is the content of the package list, "" if there is none.
	packages string
}

// entry is a file or folder. Its mode is that of stat(2).
type entry struct {
	path string
	mode uint32
}

// Parts of a mode.
const (
	typeMask, typeLink, typeFolder = 0o170000, 0o120000, 0o040000
	setuid, setgid, sticky         = 0o4000, 0o2000, 0o1000
	worldWritable                  = 0o2
)

// filesystems checks the filesystems and reads what is in them.
func (s *subject) filesystems() (string, error) {
	var saw []string
	var problems error
	add := func(name, line string, read contents, err error) {
		read.name = name
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("%s: %w", name, err))
			return
		}
		s.contents = append(s.contents, read)
		saw = append(saw, fmt.Sprintf("%s: %s, %d files and folders", name, line, len(read.entries)))
	}
	for _, image := range s.images {
		reader, line := s.ext4, "e2fsck finds nothing"
		if image.Filesystem == guestimage.Erofs {
			reader, line = s.erofs, "fsck.erofs finds nothing"
		}
		read, err := reader(image.Root)
		add(path.Base(image.Path), line, read, err)
	}
	if s.Initrd != "" {
		read, err := s.initrd(s.t.Path(s.Initrd))
		add(path.Base(s.Initrd), "cpio in one stream", read, err)
	}
	if _, missing := report.AsMissing(problems); len(saw) == 0 && problems == nil || missing {
		return "", errors.Join(problems, s.nothing())
	}
	return strings.Join(saw, "\n"), problems
}

// nothing is the error of a check without a filesystem.
func (s *subject) nothing() error {
	return report.Missing("no filesystem could be read: see the checks before")
}

// packages compares the packages with the lock.
func (s *subject) packages() (string, error) {
	if len(s.contents) == 0 {
		return "", s.nothing()
	}
	if len(s.Locked) == 0 {
		return "", report.Missing("the asset has no lock: run `pipelines rootfs lock`")
	}
	var problems error
	for _, c := range s.contents {
		if err := compare(c.packages, s.Locked); err != nil {
			problems = errors.Join(problems, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return fmt.Sprintf("%d packages, as in the lock", len(s.Locked)), problems
}

// compare compares a package list with a lock.
func compare(list string, locked []recipe.Locked) error {
	const columns = 3
	if list == "" {
		return fmt.Errorf("no /%s", packageList)
	}
	var has, wants []string
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) < columns {
			return fmt.Errorf("/%s has the line %q: want name, version and hash", packageList, line)
		}
		has = append(has, strings.Join(fields[:columns], " "))
	}
	for _, p := range locked {
		wants = append(wants, p.Name+" "+p.Version+" "+p.Hash)
	}
	var problems error
	for _, p := range has {
		if !slices.Contains(wants, p) {
			problems = errors.Join(problems, fmt.Errorf("%s is not in the lock", p))
		}
	}
	for _, p := range wants {
		if !slices.Contains(has, p) {
			problems = errors.Join(problems, fmt.Errorf("%s is in the lock, but not in the guest", p))
		}
	}
	return problems
}

// modes refuses programs that change their user, and files that everybody can write:
// everything in a guest runs as root, so no program needs the one or the other.
func (s *subject) modes() (string, error) {
	if len(s.contents) == 0 {
		return "", s.nothing()
	}
	var problems error
	var number int
	for _, c := range s.contents {
		for _, e := range c.entries {
			number++
			if problem := e.problem(); problem != "" {
				problems = errors.Join(problems, fmt.Errorf("%s: /%s has mode %04o: %s", c.name, e.path, e.mode&^typeMask, problem))
			}
		}
	}
	return fmt.Sprintf("%d files and folders: none is setuid or setgid, none is world-writable but folders with the sticky bit", number), problems
}

func (e entry) problem() string {
	folder := e.mode&typeMask == typeFolder
	switch {
	case e.mode&typeMask == typeLink:
		return ""
	case !folder && e.mode&(setuid|setgid) != 0:
		return "it is setuid or setgid"
	case e.mode&worldWritable != 0 && (!folder || e.mode&sticky == 0):
		return "it is world-writable"
	}
	return ""
}
