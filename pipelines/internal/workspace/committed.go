package workspace

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
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
		in.Files = append(in.Files, plan.Read...)
		declared := slices.Clone(asset.Files)
		for _, step := range asset.Steps {
			declared = append(declared, step.Files...)
		}
		for _, name := range declared {
			in.Below = append(in.Below, path.Join(asset.Folder, name))
		}
		if asset.Kernel != nil {
			for _, folder := range asset.Kernel.Folders(arch) {
				in.Below = append(in.Below, path.Join(kconfig.Root, folder))
			}
		}
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

// changed compares the inputs, as the keys read them, with a commit, and returns
// those that differ, sorted. `git status` is not enough: files can be hidden from
// it, and it does not follow links.
func (w *Workspace) changed(ctx context.Context, commit string, in Inputs) ([]string, error) {
	objects, err := w.Git.Objects(ctx, commit)
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, file := range in.Files {
		content, err := w.Resolver.Tree.Content(file)
		if errors.Is(err, fs.ErrNotExist) {
			changed = append(changed, file)
			continue
		}
		if err != nil {
			return nil, err
		}
		same, err := w.same(ctx, content, objects[file])
		if err != nil {
			return nil, err
		}
		if !same {
			changed = append(changed, file)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(objects)) {
		if !slices.ContainsFunc(in.Below, func(name string) bool { return file == name || strings.HasPrefix(file, name+"/") }) {
			continue
		}
		if _, err := fs.Stat(w.Resolver.Tree, file); err != nil {
			changed = append(changed, file)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// same reports whether a file is that of a commit, whatever its mode: no key has that.
// If a checkout writes other bytes than are committed, such as other line ends, git says
// what it would commit.
func (w *Workspace) same(ctx context.Context, content recipe.Content, committed git.Object) (bool, error) {
	if !slices.Contains([]string{"100644", "100755"}, committed.Mode) {
		return false, nil // A link or a submodule.
	}
	if blobID(content.Data, len(committed.ID)) == committed.ID {
		return true, nil
	}
	id, err := w.Git.Hash(ctx, content.Path, content.Data)
	return id == committed.ID, err
}

// blobID returns the id of a blob in a repository whose ids have so many
// hexadecimal digits: it hashes with SHA-1, or with SHA-256.
func blobID(data []byte, digits int) string {
	sum := sha1.New()
	if digits == hex.EncodedLen(sha256.Size) {
		sum = sha256.New()
	}
	fmt.Fprintf(sum, "blob %d\x00", len(data))
	sum.Write(data)
	return hex.EncodeToString(sum.Sum(nil))
}
