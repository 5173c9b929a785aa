package archive

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// scan lists what is in dir as the members of its tarball, sorted by name,
// without their hashes.
func scan(dir string) ([]Member, error) {
	tree := os.DirFS(dir)
	var members []Member
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		m, err := inspect(tree, name, entry)
		members = append(members, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the files to pack: %w", err)
	}
	if !slices.ContainsFunc(members, func(m Member) bool { return !m.Mode.IsDir() }) {
		return nil, fmt.Errorf("%s holds no file to pack", dir)
	}
	slices.SortFunc(members, order)
	return members, nil
}

// order compares members as they are sorted: directories, then the others, by name.
func order(a, b Member) int {
	if a.Mode.IsDir() != b.Mode.IsDir() {
		if a.Mode.IsDir() {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

// inspect makes the member of one file, or says why it must not be shipped.
func inspect(tree fs.FS, name string, entry fs.DirEntry) (Member, error) {
	info, err := entry.Info()
	if err != nil {
		return Member{}, err
	}
	m := Member{Name: "./" + name, Mode: info.Mode() & (fs.ModeType | fs.ModePerm)}
	switch m.Mode.Type() {
	case fs.ModeDir:
		m.Name += "/"
	case fs.ModeSymlink:
		if m.Link, err = fs.ReadLink(tree, name); err != nil {
			return Member{}, err
		}
	case 0:
		// Directories may inherit these bits, so they are ignored there.
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			return Member{}, fmt.Errorf("%s is setuid or setgid: an installer must not hand out privileges; clear the bit in the build script", m.Name)
		}
		m.Size = info.Size()
	default:
		return Member{}, fmt.Errorf("%s is a %s: want only files, directories and symbolic links", m.Name, kind(m.Mode))
	}
	m = normal(m)
	return m, CheckMember(m)
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeDevice != 0:
		return "device"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}
