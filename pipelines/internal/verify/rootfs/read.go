package rootfs

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// run runs a program of a package, and returns what it prints.
func (s *subject) run(name, pkg string, args ...string) (string, error) {
	program, err := s.Find(name, pkg)
	if err != nil {
		return "", err
	}
	return host.Output(command.New(s.ctx, program, args...))
}

// ext4 checks an ext4 and reads what is in it. debugfs lists one folder at a time, by
// inode, so the folders of each level are listed together.
func (s *subject) ext4(file string) (contents, error) {
	const pkg, rootInode, atOnce = "e2fsprogs", "2", 300
	if _, err := s.run("e2fsck", pkg, "-f", "-n", file); err != nil {
		return contents{}, err
	}
	var c contents
	folders := []folder{{inode: rootInode}}
	for len(folders) > 0 {
		now := folders[:min(atOnce, len(folders))]
		folders = folders[len(now):]
		script := file + ".debugfs"
		var lines strings.Builder
		for _, f := range now {
			fmt.Fprintf(&lines, "ls -p <%s>\n", f.inode)
		}
		if err := os.WriteFile(script, []byte(lines.String()), 0o600); err != nil {
			return c, err
		}
		out, err := s.run("debugfs", pkg, "-f", script, file)
		if err != nil {
			return c, err
		}
		deeper, err := c.listed(out, now)
		if err != nil {
			return c, fmt.Errorf("reading what debugfs lists: %w", err)
		}
		folders = append(folders, deeper...)
	}
	list, err := s.run("debugfs", pkg, "-R", "cat /"+packageList, file)
	c.packages = list
	return c, err
}

// folder is one of an ext4.
type folder struct{ inode, path string }

// listed adds what debugfs prints for some folders, and returns the folders in them. It
// prints the command before each list, and then lines "/inode/mode/uid/gid/name/size/".
func (c *contents) listed(out string, folders []folder) (deeper []folder, err error) {
	const prompt, columns = "debugfs: ", 8
	at := -1
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, prompt) {
			at++
			continue
		}
		if line == "" {
			continue
		}
		fields := strings.Split(line, "/")
		if at < 0 || at >= len(folders) || len(fields) != columns {
			return nil, fmt.Errorf("unexpected line %q", line)
		}
		inode, name := fields[1], fields[5]
		mode, err := strconv.ParseUint(fields[2], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		if name == "." || name == ".." {
			continue
		}
		e := entry{strings.TrimPrefix(folders[at].path+"/"+name, "/"), uint32(mode)}
		c.entries = append(c.entries, e)
		if e.mode&typeMask == typeFolder {
			deeper = append(deeper, folder{inode, e.path})
		}
	}
	if at+1 != len(folders) {
		return nil, fmt.Errorf("%d lists: want %d", at+1, len(folders))
	}
	return deeper, nil
}

// erofs checks an erofs, which unpacks it, and reads what is in it.
func (s *subject) erofs(file string) (contents, error) {
	var c contents
	dir := file + ".files"
	defer os.RemoveAll(dir)
	if err := s.unpackErofs(file, dir); err != nil {
		return c, err
	}
	err := filepath.WalkDir(dir, func(path string, item fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.ErrUnsupported
		}
		c.entries = append(c.entries, entry{strings.TrimPrefix(path, dir+"/"), uint32(stat.Mode)}) //nolint:unconvert // macOS has modes of 16 bits
		return nil
	})
	if err != nil {
		return c, err
	}
	list, err := os.ReadFile(filepath.Join(dir, packageList))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	c.packages = string(list)
	return c, err
}

// unpackErofs runs fsck.erofs, whose exit code is 0 even if the superblock is broken.
func (s *subject) unpackErofs(file, dir string) error {
	program, err := s.Find("fsck.erofs", "erofs-utils")
	if err != nil {
		return err
	}
	cmd := command.New(s.ctx, program, "--extract="+dir, "--preserve-perms", "--no-preserve-owner", file)
	var printed host.Printed
	cmd.Stdout, cmd.Stderr = &printed, &printed
	wait, err := host.Start(cmd)
	if err == nil {
		err = wait()
	}
	if err == nil && strings.Contains(printed.String(), "<E>") {
		err = errors.New("it finds errors")
	}
	if err = cmp.Or(printed.Err(), err); err != nil {
		return fmt.Errorf("running fsck.erofs: %w%s", err, host.Indented(printed.String()))
	}
	return nil
}

// initrd reads an initrd.
func (s *subject) initrd(file string) (contents, error) {
	var c contents
	packed, err := files.Open(file)
	if err != nil {
		return c, err
	}
	defer packed.Close()
	plain, closer, err := foreign.Decompress(bufio.NewReader(files.Reader(s.ctx, packed)))
	if err != nil {
		return c, err
	}
	defer closer()
	err = readCPIO(bufio.NewReader(plain), func(e entry, content io.Reader) error {
		c.entries = append(c.entries, e)
		if e.path != packageList {
			return nil
		}
		list, err := io.ReadAll(content)
		c.packages = string(list)
		return err
	})
	return c, err
}
