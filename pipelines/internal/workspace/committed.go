package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
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

// changed compares the inputs with a commit, and returns those that differ, sorted, in
// whatever but their mode: no key has that. `git status` is not enough: files can be
// hidden from it.
func (w *Workspace) changed(ctx context.Context, commit string, in []string) ([]string, error) {
	objects, err := w.Git.Objects(ctx, commit)
	if err != nil {
		return nil, err
	}
	var differ []string
	for _, name := range in {
		info, err := fs.Stat(w.Resolver.Tree, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // It may be missing in the commit, too.
		case err != nil:
			return nil, err
		case !info.IsDir():
			differ = append(differ, name)
		}
	}
	// A checkout may write other bytes than are committed, such as other line ends: what
	// differs is compared again as git would commit it.
	for _, filters := range []bool{false, true} {
		ids, err := w.Git.Hash(ctx, differ, filters)
		if err != nil {
			return nil, err
		}
		differ = slices.DeleteFunc(differ, func(file string) bool { return objects[file].IsFile() && objects[file].ID == ids[file] })
	}
	// A committed file that is missing differs, also below a folder.
	for file := range objects {
		if !slices.ContainsFunc(in, func(name string) bool { return file == name || strings.HasPrefix(file, name+"/") }) {
			continue
		}
		if _, err := fs.Stat(w.Resolver.Tree, file); err != nil {
			differ = append(differ, file)
		}
	}
	slices.Sort(differ)
	return slices.Compact(differ), nil
}
