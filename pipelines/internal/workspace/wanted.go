package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/collect"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Wanted returns what the working tree and the trees of some revisions need of the entries
// of a cache; by default those of HEAD, the branches of the clone and the last release. The
// keys are those that this program computes.
func (w *Workspace) Wanted(ctx context.Context, revisions []string, items []store.Item) (collect.Wanted, error) {
	n := &needs{
		Wanted:  collect.Wanted{Names: map[string]string{}, Pending: map[string]string{}},
		digests: map[store.Ref]recipe.Digests{},
	}
	for _, item := range items {
		if item.Kind == store.KindArtifact {
			n.digests[item.Artifact.Ref] = build.Contents(item.Artifact)
		}
	}
	if err := n.add(w, "the working tree"); err != nil {
		return n.Wanted, err
	}
	given := len(revisions) > 0
	if !given {
		var err error
		if revisions, err = w.Git.Revisions(ctx); errors.Is(err, git.ErrForeign) {
			return n.Wanted, err
		} else if err != nil {
			return n.Wanted, fmt.Errorf("finding the branches and releases to keep (or name revisions with --keep): %w", err)
		}
	}
	seen := map[string]bool{}
	for _, name := range revisions {
		commit, err := w.Git.Commit(ctx, name)
		if err != nil {
			return n.Wanted, Usage(err)
		}
		if seen[commit] {
			continue
		}
		seen[commit] = true
		tree, err := w.at(ctx, commit)
		if err == nil {
			err = n.add(tree, name)
		}
		if err != nil {
			return n.Wanted, fmt.Errorf("this program cannot plan the tree of %s: %w; name the revisions to keep, without it, with --keep", name, err)
		}
	}
	return n.Wanted, nil
}

// at returns the checkout as of a commit, for resolving its recipes.
func (w *Workspace) at(ctx context.Context, commit string) (*Workspace, error) {
	tree, err := w.Git.Files(ctx, commit)
	if err != nil {
		return nil, err
	}
	old := *w
	old.Resolver = recipe.Resolver{Tree: recipe.NewTree(tree)}
	pins, err := fs.ReadFile(tree, pinsFile)
	if err != nil {
		return nil, err
	}
	lock, err := fs.ReadFile(tree, versions.LockFile)
	if err != nil {
		return nil, err
	}
	if old.Resolver.Versions, err = versions.ParseLocked(pinsFile, pins, lock); err != nil {
		return nil, err
	}
	old.Catalog, err = catalog.Load(old.Resolver.Tree)
	return &old, err
}

type needs struct {
	collect.Wanted
	digests map[store.Ref]recipe.Digests
}

// add adds what a tree needs. An asset that cannot be resolved keeps all its artifacts.
func (n *needs) add(w *Workspace, revision string) error {
	for _, arch := range catalog.Arches() {
		closure, err := w.Catalog.Closure(w.Catalog.On(arch), arch)
		if err != nil {
			return err
		}
		known := map[string]recipe.Digests{}
		for _, asset := range closure {
			key, err := n.asset(w, asset, arch, known, revision)
			if at := asset.Name + " " + string(arch); err != nil && n.Pending[at] == "" {
				n.Pending[at] = fmt.Sprintf("in %s, %v", revision, err)
			}
			if digests, found := n.digests[store.Ref{Asset: asset.Name, Arch: string(arch), Key: key}]; found {
				known[asset.Name] = digests
			}
		}
	}
	return nil
}

// asset adds the key, the builders and the sources of an asset, and returns the key.
func (n *needs) asset(w *Workspace, asset catalog.Asset, arch catalog.Arch, known map[string]recipe.Digests, revision string) (key string, err error) {
	digests, missing := map[string]recipe.Digests{}, []string{}
	for _, name := range asset.Dependencies {
		of, found := known[name]
		if !found {
			of, missing = recipe.Digests{Tarball: "pending"}, append(missing, name)
		}
		digests[name] = of
	}
	plan, err := w.Resolver.Resolve(asset, arch, digests)
	if err != nil {
		return "", err
	}
	n.inputs(plan, revision)
	switch {
	case len(plan.Unlocked) > 0:
		return "", nil // Nobody can have built it.
	case len(missing) > 0:
		return "", fmt.Errorf("its key depends on %s, which this cache lacks", strings.Join(missing, ", "))
	}
	n.name(plan.Key, revision)
	return plan.Key, nil
}

// inputs adds the builders and the sources of a plan.
func (n *needs) inputs(plan recipe.Plan, revision string) {
	for _, s := range plan.Sources {
		for _, place := range s.Places {
			if place.Cacheable() {
				n.name(place.Hash(), revision)
				n.name("sources/"+source.CacheName(place), revision)
			}
		}
	}
	if plan.Recipe.Imported() {
		return
	}
	for _, arch := range catalog.Arches() {
		if builder, err := plan.Recipe.On(string(arch)); err == nil {
			n.builder(builder, string(arch), revision)
		}
	}
	if root := plan.Recipe.Root; root != nil {
		n.builder(*root, plan.Recipe.Arch, revision)
	}
}

func (n *needs) builder(b recipe.Builder, machine, revision string) {
	if id, err := b.ID(machine); err == nil {
		n.name(id, revision)
	}
	base := debian.BaseName(b.Suite, catalog.Arch(machine), b.Epoch)
	n.name("bases/"+base, revision)
}

// name adds a name; the first revision that needs it counts.
func (n *needs) name(name, revision string) {
	if n.Names[name] == "" {
		n.Names[name] = revision
	}
}
