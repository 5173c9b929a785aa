package payload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// tree is the files of a node by path: mode and hash of each file, target of each link.
type tree map[string]string

// watched are the folders of a node in which an installer may write, and ignored those
// below them that belong to others: to the API, to containerd, to systemd, and to
// snapshotters, whose data outlives installations.
var (
	watched = []string{"/opt", "/etc", "/usr/local", "/var/lib", "/var/snap", "/root"}
	ignored = []string{
		"/opt/containerd", "/var/lib/etcd", "/var/lib/containerd", "/var/lib/systemd", "/var/lib/dbus", "/var/lib/kubelet",
		"/var/lib/nydus-snapshotter", "/var/lib/private", "/usr/local/bin", "/etc/crio", "/var/lib/rancher/k3s/data", "/etc/machine-id",
	}
)

// treeCache has the hashes of files that have not changed.
type treeCache map[string]string

// read reads the files of a node below its root.
func (c treeCache) read(ctx context.Context, root string) (tree, error) {
	t := tree{}
	for _, folder := range watched {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, root)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case slices.Contains(ignored, name) || strings.HasPrefix(name, "/var/lib/"+snapshotter):
				if entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			t[name], err = c.describe(ctx, path, entry)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the files of the node: %w", err)
		}
	}
	return t, nil
}

// describe returns what a tree says of a file.
func (c treeCache) describe(ctx context.Context, path string, entry fs.DirEntry) (string, error) {
	info, err := entry.Info()
	if err != nil {
		return "", err
	}
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		return "-> " + target, err
	case !info.Mode().IsRegular():
		return info.Mode().String(), nil
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	key := fmt.Sprint(stat.Dev, stat.Ino, stat.Size, info.ModTime().UnixNano(), info.Mode())
	sum, known := c[key]
	if !known {
		if sum, _, err = files.Hash(ctx, path); err != nil {
			return "", err
		}
		c[key] = sum
	}
	return info.Mode().String() + " " + sum, nil
}

// below returns the part of a tree below a folder.
func (t tree) below(folder string) tree {
	part := tree{}
	for path, what := range t {
		if path == folder || strings.HasPrefix(path, folder+"/") {
			part[path] = what
		}
	}
	return part
}

// differences lists how other differs from a tree, a few paths of it.
func (t tree) differences(other tree) (list []string) {
	for _, path := range slices.Sorted(maps.Keys(t)) {
		if now, there := other[path]; !there {
			list = append(list, "- "+path)
		} else if now != t[path] {
			list = append(list, "~ "+path+" "+t[path]+" => "+now)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(other)) {
		if _, there := t[path]; !there {
			list = append(list, "+ "+path)
		}
	}
	const most = 12
	if more := len(list) - most; more > 0 {
		list = append(list[:most], fmt.Sprintf("and %d more", more))
	}
	return list
}
