package cli

import (
	"bytes"
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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// committed returns the commit that the tree is at. The error says why what is
// made of the tree is not that commit's: an input is not as it is committed.
func (t *tree) committed(ctx context.Context, in inputs) (string, error) {
	if t.pins != "" {
		return "", fmt.Errorf("the pins are those of %s, which is no part of the tree: write them into versions.yaml", t.pins)
	}
	commit, err := t.head(ctx)
	if err != nil {
		return "", err
	}
	changed, err := t.changed(ctx, commit, in)
	if err != nil {
		return "", err
	}
	if len(changed) > 0 {
		return "", fmt.Errorf("these inputs are not committed: %s; commit them", strings.Join(changed, ", "))
	}
	return commit, nil
}

// inputs are the paths that keys are made of.
type inputs struct {
	// files are those that were read.
	files []string
	// below are the declared files and folders: every file below one is an
	// input, so one that is committed and not there is a change.
	below []string
}

// inputs returns the paths of everything in the tree that the keys of the named
// assets and of their dependencies are made of.
func (t *tree) inputs(names []string, arch catalog.Arch) (inputs, error) {
	closure, err := t.catalog.Closure(names, arch)
	if err != nil {
		return inputs{}, usage(err)
	}
	var in inputs
	for _, asset := range closure {
		plan, err := t.resolver.Resolve(asset, arch, open(asset))
		if err != nil {
			return inputs{}, err
		}
		in.files = append(in.files, plan.Read...)
		declared := slices.Clone(asset.Files)
		for _, step := range asset.Steps {
			declared = append(declared, step.Files...)
		}
		for _, name := range declared {
			in.below = append(in.below, path.Join(asset.Folder, name))
		}
		if asset.Kernel != nil {
			for _, folder := range asset.Kernel.Folders(arch) {
				in.below = append(in.below, path.Join(kconfig.Root, folder))
			}
		}
	}
	return in, nil
}

// open leaves the digests of an asset's dependencies, which only a build knows,
// open.
func open(asset catalog.Asset) map[string]recipe.Digests {
	digests := map[string]recipe.Digests{}
	for _, name := range asset.Dependencies {
		digests[name] = recipe.Digests{}
	}
	return digests
}

// object is a file of a commit.
type object struct{ mode, id string }

// objects lists the files of a commit below the root of the tree. The files of a
// submodule are not among them: it is one entry.
func (t *tree) objects(ctx context.Context, commit string) (map[string]object, error) {
	out, err := t.git(ctx, nil, "ls-tree", "-r", "-z", commit)
	if err != nil {
		return nil, err
	}
	objects := map[string]object{}
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		about, name, _ := strings.Cut(line, "\t")
		if fields := strings.Fields(about); len(fields) == 3 { // <mode> <type> <id>
			objects[name] = object{fields[0], fields[2]}
		}
	}
	return objects, nil
}

// changed compares the inputs, as the keys read them, with a commit, and returns
// those that differ, sorted. What git's own status says does not do: files can be
// hidden from it, and it does not follow links.
func (t *tree) changed(ctx context.Context, commit string, in inputs) ([]string, error) {
	objects, err := t.objects(ctx, commit)
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, file := range in.files {
		content, err := t.resolver.Tree.Content(file)
		if errors.Is(err, fs.ErrNotExist) {
			changed = append(changed, file)
			continue
		}
		if err != nil {
			return nil, err
		}
		same, err := t.same(ctx, content, objects[file])
		if err != nil {
			return nil, err
		}
		if !same {
			changed = append(changed, file)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(objects)) {
		if !slices.ContainsFunc(in.below, func(name string) bool { return file == name || strings.HasPrefix(file, name+"/") }) {
			continue
		}
		if _, err := fs.Stat(t.resolver.Tree, file); err != nil {
			changed = append(changed, file)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// The modes of files in a commit; links and submodules have others.
const (
	blobMode       = "100644"
	executableMode = "100755"
)

// same tells whether a file is the one of a commit. Where a checkout writes
// other bytes than are committed, such as other ends of lines, git says what it
// would commit.
func (t *tree) same(ctx context.Context, content recipe.Content, committed object) (bool, error) {
	mode := blobMode
	if content.Mode == "0755" {
		mode = executableMode
	}
	if committed.mode != mode {
		return false, nil
	}
	if blobID(content.Data, len(committed.id)) == committed.id {
		return true, nil
	}
	id, err := t.git(ctx, bytes.NewReader(content.Data), "hash-object", "--stdin", "--path", content.Path)
	return strings.TrimSpace(id) == committed.id, err
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
