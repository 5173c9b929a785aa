package workspace

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Give replaces sources of the assets, and of all they depend on, by local files and
// folders: --source NAME=PATH. For an imported asset, NAME is the asset or its source, and
// the content of PATH goes into the key. Other sources must have a declared hash or commit.
func (w *Workspace) Give(ctx context.Context, names []string, arch catalog.Arch, given map[string]string) error {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return Usage(err)
	}
	w.Sources.Local, w.Resolver.Given = maps.Clone(given), map[string]recipe.Given{}
	for _, asset := range closure {
		name := asset.Name
		if asset.Import == nil {
			continue
		}
		if _, found := given[name]; !found {
			name = slices.Collect(maps.Keys(asset.Sources))[0]
		}
		path, found := given[name]
		if !found {
			continue
		}
		delete(w.Sources.Local, name)
		sum, err := w.contentOf(ctx, path, asset, arch)
		if err != nil {
			return fmt.Errorf("--source %s=%s, for %s: %w", name, path, asset.Name, err)
		}
		w.Resolver.Given[asset.Name] = recipe.Given{Path: path, SHA256: sum}
	}
	return nil
}

// contentOf hashes a file, or what an asset takes of a folder.
func (w *Workspace) contentOf(ctx context.Context, path string, asset catalog.Asset, arch catalog.Arch) (string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		file, err := files.OpenNamed(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		sum, _, err := files.HashReader(ctx, file)
		return sum, err
	}
	plan, err := w.Resolve(asset, arch)
	if err != nil {
		return "", err
	}
	taken, err := foreign.ExtractFolder(ctx, path, build.Members(plan.Recipe, true), "")
	return foreign.Sum(taken), err
}

// undeclared is an error if an asset is imported from a local file or folder with other
// content than any declared place has.
func (w *Workspace) undeclared(names []string, arch catalog.Arch) error {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return Usage(err)
	}
	for _, asset := range closure {
		given, found := w.Resolver.Given[asset.Name]
		if !found {
			continue
		}
		plan, err := w.Resolve(asset, arch)
		if err != nil {
			return err
		}
		if plan.Recipe.FromGiven() {
			return fmt.Errorf("%s is imported from %s, whose content no place of %s declares", asset.Name, given.Path, plan.Recipe.Sources[0].Path)
		}
	}
	return nil
}
