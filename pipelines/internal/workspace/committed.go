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

// Inputs are the paths that keys are made of.
type Inputs struct {
	// Files are those that were read.
	Files []string
	// Below are the declared files and folders: every file below one is an input,
	// so one that is committed and missing is a change.
	Below []string
}

// Add returns both inputs.
func (i Inputs) Add(other Inputs) Inputs {
	return Inputs{slices.Concat(i.Files, other.Files), slices.Concat(i.Below, other.Below)}
}

// Inputs returns the paths of everything in the tree that the keys of the named
// assets and of their dependencies are made of.
func (w *Workspace) Inputs(names []string, arch catalog.Arch) (Inputs, error) {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return Inputs{}, Usage(err)
	}
	var in Inputs
	for _, asset := range closure {
		plan, err := w.Resolve(asset, arch)
		if err != nil {
			return Inputs{}, err
		}
		in = in.Add(Inputs{plan.Read, plan.Below})
	}
	return in, nil
}

// Committed returns the commit that is checked out. It is an error if an input
// differs from that commit.
func (w *Workspace) Committed(ctx context.Context, in Inputs) (string, error) {
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
func (w *Workspace) changed(ctx context.Context, commit string, in Inputs) ([]string, error) {
	objects, err := w.Git.Objects(ctx, commit)
	if err != nil {
		return nil, err
	}
	var changed, differ []string
	for _, file := range in.Files {
		_, err := fs.Stat(w.Resolver.Tree, file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changed = append(changed, file)
		case err != nil:
			return nil, err
		default:
			differ = append(differ, file)
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
	for file := range objects {
		if !slices.ContainsFunc(in.Below, func(name string) bool { return file == name || strings.HasPrefix(file, name+"/") }) {
			continue
		}
		if _, err := fs.Stat(w.Resolver.Tree, file); err != nil {
			changed = append(changed, file)
		}
	}
	changed = append(changed, differ...)
	slices.Sort(changed)
	return slices.Compact(changed), nil
}
