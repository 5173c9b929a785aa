package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// spare is the room on the disk that an installation leaves free.
const spare = 64 << 20

// staged is the content of a plan in its staging files: a folder next to the tree, and a file
// for each one outside.
type staged struct {
	// tree is the folder that takes the place of the tree, nil if that stays. It is
	// without files if the tree is to go.
	tree  *os.File
	empty bool
	// pending are files outside by their paths.
	pending map[string]*files.Pending
}

// stage writes all new content. A failure leaves the node as it is.
func (h Host) stage(ctx context.Context, p plan.Plan, payload *components.Payload, s State, d Diff) (*staged, error) {
	st := &staged{pending: map[string]*files.Pending{}}
	err := h.stageTree(ctx, st, p, payload, s, d)
	if err == nil {
		err = h.stageOutside(st, p, d)
	}
	if err != nil {
		st.discard()
		if files.IsFull(err) {
			return nil, fmt.Errorf("unpacking: %w: free some space on the node; nothing was changed", err)
		}
		return nil, fmt.Errorf("unpacking: %w; nothing was changed", err)
	}
	return st, nil
}

// discard removes what was not used, or what it took the place of.
func (st *staged) discard() {
	if st.tree != nil {
		_ = os.RemoveAll(st.tree.Name())
		_ = st.tree.Close()
	}
	for _, p := range st.pending {
		p.Discard()
	}
}

func (h Host) stageTree(ctx context.Context, st *staged, p plan.Plan, payload *components.Payload, s State, d Diff) (err error) {
	tree := h.path(p.Tree)
	if len(d.Tree) == 0 {
		return nil
	}
	if st.tree, err = files.Beside(tree); err != nil {
		return err
	}
	free, err := files.Free(filepath.Dir(tree))
	if err == nil && free < d.Bytes()+spare {
		err = fmt.Errorf("the file system of %s has %d MiB free and %d MiB are needed: %w", p.Tree, free>>20, (d.Bytes()+spare)>>20, syscall.ENOSPC)
	}
	if err != nil {
		return err
	}
	if err := st.tree.Chmod(0o755); err != nil {
		return err
	}
	if st.empty, err = carry(tree, st.tree.Name(), p, s); err != nil {
		return err
	}
	unpack := map[string]map[string]string{}
	for _, e := range p.Files {
		to := filepath.Join(st.tree.Name(), e.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		source := p.Sources[e.Path]
		switch {
		case d.same[e.Path]:
			err = os.Link(filepath.Join(tree, e.Path), to)
		case e.Link != "":
			err = os.Symlink(e.Link, to)
		case source.Component == "":
			err = writeFile(to, e, source.Content)
		default:
			if unpack[source.Component] == nil {
				unpack[source.Component] = map[string]string{}
			}
			unpack[source.Component][e.Path] = to
		}
		if err != nil {
			return err
		}
	}
	for component, to := range unpack {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := payload.Unpack(ctx, component, to); err != nil {
			return err
		}
	}
	return unix.Syncfs(int(st.tree.Fd()))
}

func writeFile(to string, e plan.Entry, content []byte) error {
	var mode fs.FileMode
	if _, err := fmt.Sscanf(e.Mode, "%o", &mode); err != nil {
		return fmt.Errorf("%s has the mode %q: %w", e.Path, e.Mode, err)
	}
	if err := os.WriteFile(to, content, mode); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}

// carry links everything of the tree that is in no manifest into the new one, with its
// folders, and reports whether that has nothing then and gets nothing.
func carry(tree, to string, p plan.Plan, s State) (empty bool, err error) {
	c := carrying{ours: map[string]bool{}, folders: map[string]bool{}, planned: map[string]bool{}}
	c.add(p.Manifest, true)
	for _, m := range s.manifests() {
		c.add(m, false)
	}
	empty = len(p.Files) == 0
	err = filepath.WalkDir(tree, func(at string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && at == tree {
			return fs.SkipAll
		}
		name, relative := filepath.Rel(tree, at)
		if err = errors.Join(err, relative); err != nil || at == tree || c.ours[name] || entry.IsDir() && c.folders[name] {
			return err
		}
		if err := c.inTheWay(name); err != nil {
			return fmt.Errorf("%s is in the way of %w: move it away", at, err)
		}
		empty = false
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if entry.IsDir() {
			return folderLike(at, target)
		}
		return os.Link(at, target)
	})
	return empty, err
}

// carrying knows which paths of a tree are ours: the files of manifests, and the folders of
// those. Planned are the files and folders that the tree gets: false for a folder.
type carrying struct{ ours, folders, planned map[string]bool }

func (c carrying) add(m plan.Manifest, planned bool) {
	for _, e := range m.Files {
		c.ours[e.Path] = true
		if planned {
			c.planned[e.Path] = true
		}
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if c.folders[dir] = true; planned {
				c.planned[dir] = false
			}
		}
	}
}

// inTheWay returns what the payload has in place of a path, or of a folder that it is in.
func (c carrying) inTheWay(name string) error {
	if _, folder := c.planned[name]; folder {
		return errors.New("the payload's folder of that name")
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if c.planned[dir] {
			return fmt.Errorf("the payload's file %s", dir)
		}
	}
	return nil
}

// folderLike makes a folder with the mode and the owner of another.
func folderLike(other, at string) error {
	info, err := os.Stat(other)
	if err != nil {
		return err
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Lchown(at, int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(at, info.Mode())
}

// stageOutside writes the files outside next to their places. A file of others keeps its
// mode.
func (h Host) stageOutside(st *staged, p plan.Plan, d Diff) error {
	for _, c := range d.Outside {
		i := slices.IndexFunc(p.Outside, func(e plan.Entry) bool { return e.Path == c.Path })
		if c.Kind == Remove || p.Outside[i].Link != "" {
			continue
		}
		if err := h.pend(st, c.Path, p.Sources[c.Path].Content, 0o644); err != nil {
			return err
		}
	}
	for at, content := range d.edits {
		mode := fs.FileMode(0o644)
		if info, err := os.Stat(h.path(at)); err == nil {
			mode = info.Mode().Perm()
		}
		if content == nil {
			continue
		}
		if err := h.pend(st, at, content, mode); err != nil {
			return err
		}
	}
	return nil
}

func (h Host) pend(st *staged, at string, content []byte, mode fs.FileMode) error {
	target, err := h.real(at)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	pending, err := files.CreateIn(staging(target), target, mode)
	if err != nil {
		return err
	}
	st.pending[at] = pending
	_, err = pending.Write(content)
	return errors.Join(err, pending.Sync())
}

// staging is the folder in which a file is written before it is renamed to its place: that of
// its place, or the one above where CRI-O reads every file, whatever its name.
func staging(at string) string {
	dir := filepath.Dir(at)
	if strings.HasSuffix(dir, cri.CrioDir) {
		return filepath.Dir(dir)
	}
	return dir
}

// real returns the path of a file that may be a link, which stays one.
func (h Host) real(at string) (string, error) {
	target := h.path(at)
	resolved, err := filepath.EvalSymlinks(target)
	if errors.Is(err, fs.ErrNotExist) {
		return target, nil
	}
	if err == nil && !strings.HasPrefix(resolved, filepath.Clean(h.Root)) {
		return "", fmt.Errorf("%s leads to %s: kata-deploy edits no file behind a link", at, resolved)
	}
	return resolved, err
}

// isNotFolder reports whether a part of a path is a file.
func isNotFolder(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
