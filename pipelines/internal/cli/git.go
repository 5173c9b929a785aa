package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// committed returns the commit that the tree is at, and refuses a tree in which
// an input of the named assets, or of what they depend on, is not as it is
// committed: others could not build what is pushed. Where dirty is allowed, the
// answer for such a tree is "": it is no commit's.
func (t *tree) committed(ctx context.Context, names []string, arch catalog.Arch, dirty bool) (string, error) {
	inputs, err := t.inputs(names, arch)
	if err != nil {
		return "", err
	}
	commit, changed, err := t.status(ctx, inputs)
	switch {
	case err != nil:
	case t.pins != "":
		err = fmt.Errorf("not pushing what others cannot build: the pins are those of %s, which is no part of the tree", t.pins)
	case len(changed) > 0:
		err = fmt.Errorf("not pushing what others cannot build: these inputs are not committed: %s", strings.Join(changed, ", "))
	}
	if err == nil {
		return commit, nil
	}
	if dirty {
		return "", nil
	}
	return "", fmt.Errorf("%w; commit them, or push all the same with --allow-dirty", err)
}

// inputs returns the paths of everything in the tree that the keys of the named
// assets and of their dependencies are made of.
func (t *tree) inputs(names []string, arch catalog.Arch) ([]string, error) {
	closure, err := t.catalog.Closure(names, arch)
	if err != nil {
		return nil, usage(err)
	}
	var inputs []string
	for _, asset := range closure {
		plan, err := t.resolver.Resolve(asset, arch, open(asset))
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, plan.Read...)
	}
	slices.Sort(inputs)
	return slices.Compact(inputs), nil
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

// status asks git for the commit, and for those of the paths that are changed,
// untracked or ignored.
func (t *tree) status(ctx context.Context, paths []string) (commit string, changed []string, err error) {
	head, err := t.git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return "", nil, err
	}
	out, err := t.git(ctx, append([]string{"status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching", "--"}, paths...)...)
	if err != nil {
		return "", nil, err
	}
	for entry := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if len(entry) > 3 {
			changed = append(changed, entry[3:])
		}
	}
	return strings.TrimSpace(head), changed, nil
}

func (t *tree) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.root, "--literal-pathspecs"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("asking git whether the inputs are committed: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// version reads the release that the tree is of.
func (t *tree) version() (string, error) {
	data, err := os.ReadFile(filepath.Join(t.root, "VERSION"))
	if err != nil {
		return "", fmt.Errorf("reading the release: %w", err)
	}
	version := strings.TrimSpace(string(data))
	if version == "" {
		return "", errors.New("VERSION is empty: write the release into it, such as 3.28.0")
	}
	return version, nil
}
