package payload

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
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
			case err != nil:
				return files.IgnoreMissing(err)
			case !slices.Contains(ignored, name) && !strings.HasPrefix(name, "/var/lib/"+snapshotter):
				t[name], err = c.describe(ctx, path, entry)
			case entry.IsDir():
				return fs.SkipDir
			}
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
	switch {
	case err != nil:
		return "", err
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		return "-> " + target, err
	case !info.Mode().IsRegular():
		return info.Mode().String(), nil
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	key := fmt.Sprint(stat.Dev, stat.Ino, stat.Size, info.ModTime().UnixNano(), info.Mode())
	if c[key] == "" {
		if c[key], _, err = files.Hash(ctx, path); err != nil {
			return "", err
		}
	}
	return info.Mode().String() + " " + c[key], nil
}

// installation returns the part of a tree that is the folder of the installation.
func (t tree) installation() tree {
	part := tree{}
	for path, what := range t {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			part[path] = what
		}
	}
	return part
}

// differences lists how other differs from a tree, a few paths of it.
func (t tree) differences(other tree) (list []string) {
	all := maps.Clone(t)
	maps.Copy(all, other)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		was, before := t[path]
		now, after := other[path]
		switch {
		case !after:
			list = append(list, "- "+path)
		case !before:
			list = append(list, "+ "+path)
		case was != now:
			list = append(list, "~ "+path+" "+was+" => "+now)
		}
	}
	const most = 12
	if more := len(list) - most; more > 0 {
		list = append(list[:most], fmt.Sprintf("and %d more", more))
	}
	return list
}

// tree reads the files of the node.
func (r *run) tree(ctx context.Context) tree {
	return report.Try(r.cache.read(ctx, r.node.Path("/")))
}

// same expects the files of the node to be those of a tree.
func (r *run) same(ctx context.Context, want tree, when string) {
	diff := want.differences(r.tree(ctx))
	report.Want(len(diff) == 0, "%s the files of the node differ from those before:\n%s", when, strings.Join(diff, "\n"))
}

// agrees expects the manifest of the installation in a folder, which a pod made, to list
// exactly the files of that folder, as they are, and those outside of it. It returns how many
// there are.
func (r *run) agrees(ctx context.Context, p *pod, dir string) int {
	var state struct {
		Current struct {
			Files, Outside []struct{ Path, SHA256, Link string }
		}
		Next any
	}
	report.Must(read(r.node.Path(dir+".manifest.json"), &state))
	report.Want(state.Next == nil, "the manifest of %s says that an installation goes on", dir)
	now, listed, found := r.tree(ctx), tree{}, tree{}
	for _, f := range state.Current.Files {
		listed[path.Join(dir, f.Path)] = f.SHA256 + f.Link
	}
	for _, f := range state.Current.Outside {
		listed[p.onNode(f.Path)] = f.SHA256 + f.Link
	}
	for at, what := range now {
		_, known := listed[at]
		if _, value, file := strings.Cut(what, " "); file && (known || strings.HasPrefix(at, dir+"/")) {
			found[at] = value
		}
	}
	diff := listed.differences(found)
	report.Want(len(diff) == 0 && len(listed) > 0, "the manifest of %s differs from the disk:\n%s", dir, strings.Join(diff, "\n"))
	return len(listed)
}

// whole expects the installation to be the former or the new one, file by file, and a
// containerd that starts with it, and returns "former" or "new".
func (r *run) whole(ctx context.Context, former, next tree, when string) string {
	now, reached := r.tree(ctx).installation(), "former"
	if diff := former.installation().differences(now); len(diff) > 0 {
		reached = "new"
		other := next.installation().differences(now)
		report.Want(len(other) == 0, "%s the installation is neither the former one:\n%s\nnor the new one:\n%s", when, strings.Join(diff, "\n"), strings.Join(other, "\n"))
	}
	for _, args := range [][]string{{"containerd", "config", "dump"}, {"systemctl", "restart", "containerd"}} {
		_, err := r.node.Run(ctx, args...)
		report.Want(err == nil, "%s: %w", when, err)
	}
	r.handlers(ctx)
	r.loaded(ctx, older)
	return reached
}
