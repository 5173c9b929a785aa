package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Inputs returns the paths of everything in the tree that the keys of the named assets
// and of their dependencies are made of: the files that are read, and the files and
// folders that are declared.
func (w *Workspace) Inputs(names []string, arch catalog.Arch) ([]string, error) {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return nil, Usage(err)
	}
	var in []string
	for _, asset := range closure {
		plan, err := w.Resolve(asset, arch)
		if err != nil {
			return nil, err
		}
		in = slices.Concat(in, plan.Read, plan.Below)
	}
	return in, nil
}

// Committed returns the commit that is checked out. It is an error if an input
// differs from that commit.
func (w *Workspace) Committed(ctx context.Context, in []string) (string, error) {
	if w.Foreign {
		return "", fmt.Errorf("the pins come from %s, which is not part of the tree: write them into versions.yaml", w.Pins)
	}
	commit, err := w.Git.Head(ctx)
	if err != nil {
		return "", err
	}
	changed, err := w.changed(ctx, commit, in)
	if err != nil {
		return "", err
	}
	if len(changed) > 0 {
		return "", fmt.Errorf("these inputs are not committed: %s; commit them", strings.Join(changed, ", "))
	}
	return commit, nil
}

// changed compares the inputs, as the keys read them, with a commit, and returns those
// whose content differs, sorted; a key does not depend on modes. `git status` is not
// enough: files can be hidden from it, and the tree may have changed since the plan.
func (w *Workspace) changed(ctx context.Context, commit string, in []string) ([]string, error) {
	objects, err := w.Git.Objects(ctx, commit)
	if err != nil {
		return nil, err
	}
	var differ []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(in))) {
		content := recipe.NewContent(name, w.Resolver.Versions.Data)
		if name != pinsFile {
			info, err := w.Resolver.Tree.Stat(name)
			if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
				continue
			}
			if content, err = w.Resolver.Tree.Content(name); err != nil {
				return nil, err
			}
		}
		same, err := w.same(ctx, content, objects[name])
		if err != nil {
			return nil, err
		}
		if !same {
			differ = append(differ, name)
		}
	}
	// A committed file that is missing differs too, also one below a folder.
	for file := range objects {
		if !slices.ContainsFunc(in, func(name string) bool { return file == name || strings.HasPrefix(file, name+"/") }) {
			continue
		}
		if !w.had(file) {
			differ = append(differ, file)
		}
	}
	slices.Sort(differ)
	return slices.Compact(differ), nil
}

// had reports whether the tree had a file when the keys were computed. The file or one of
// its folders may have been restored since.
func (w *Workspace) had(file string) bool {
	for name := file; name != "."; name = path.Dir(name) {
		info, err := w.Resolver.Tree.Stat(name)
		if err != nil || name == file && info.IsDir() {
			return false
		}
		entries, err := w.Resolver.Tree.ReadDir(path.Dir(name))
		if err != nil || !slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return entry.Name() == path.Base(name) }) {
			return false
		}
	}
	return true
}

// same compares a file with the committed one. A checkout may have converted it, such as
// its line ends: then git computes what it would commit.
func (w *Workspace) same(ctx context.Context, content recipe.Content, committed git.Object) (bool, error) {
	if !committed.IsFile() || committed.Holds(content.Data) {
		return committed.IsFile(), nil
	}
	id, err := w.Git.Hash(ctx, content.Path, content.Data)
	return id == committed.ID, err
}
