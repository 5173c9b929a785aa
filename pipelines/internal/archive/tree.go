package archive

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scan lists what is in dir as the members of its tarball, sorted by name,
// without their hashes.
func scan(dir string) ([]Member, error) {
	var members []Member
	content := false
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if relative == "." {
			if !entry.IsDir() {
				return fmt.Errorf("%s is not a folder", dir)
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		member, err := inspect(path, "./"+filepath.ToSlash(relative), info)
		if err != nil {
			return err
		}
		content = content || !member.Mode.IsDir()
		members = append(members, member)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the files to pack: %w", err)
	}
	if !content {
		return nil, fmt.Errorf("%s holds no file to pack", dir)
	}
	slices.SortFunc(members, order)
	return members, nil
}

// order is that of the members: directories, then the others, each by name.
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
func inspect(path, name string, info fs.FileInfo) (Member, error) {
	m := Member{Name: name, Mode: info.Mode() & (fs.ModeType | fs.ModePerm)}
	switch m.Mode.Type() {
	case fs.ModeDir:
		m.Name += "/"
	case fs.ModeSymlink:
		link, err := os.Readlink(path)
		if err != nil {
			return Member{}, err
		}
		m.Link = link
	case 0:
		// A directory may have these bits by inheritance: they say nothing about it.
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			return Member{}, fmt.Errorf("%s is setuid or setgid: an installer must not hand out privileges; clear the bit in the build script", name)
		}
		m.Size = info.Size()
	default:
		return Member{}, fmt.Errorf("%s is a %s: want only files, directories and symbolic links", name, kind(m.Mode))
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
