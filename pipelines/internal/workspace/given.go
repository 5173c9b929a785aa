package workspace

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Give replaces assets, and sources of the assets and of all they depend on, by local files
// and folders: --source NAME=PATH. NAME is an asset or a source, and for an imported asset
// either. The content that replaces an asset goes into the key. A source of a built asset
// must have a declared hash or commit.
func (w *Workspace) Give(ctx context.Context, names []string, arch catalog.Arch, given map[string]string) error {
	if err := w.replace(names, arch, given); err != nil {
		return err
	}
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
		if _, found := given[name]; !found && asset.Import.Source != "" {
			name = asset.Import.Name()
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

// replace turns the built assets that are given into imported ones.
func (w *Workspace) replace(names []string, arch catalog.Arch, given map[string]string) error {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return Usage(err)
	}
	for _, asset := range closure {
		path, found := given[asset.Name]
		if !found || asset.Import != nil {
			continue
		}
		program, err := foreign.IsProgram(path)
		isSource := func(a catalog.Asset) bool { return a.Import == nil && a.Sources[asset.Name] != "" }
		if err == nil && !program && slices.ContainsFunc(closure, isSource) && holdsSource(path) {
			continue
		}
		if err == nil {
			w.Catalog, err = w.Catalog.Replaced(asset.Name, program)
		}
		if err != nil {
			return Usage(fmt.Errorf("--source %s=%s: %w", asset.Name, path, err))
		}
	}
	return nil
}

// holdsSource tells, of a name that is both an asset's and a source's, which one a path is
// for: an archive without an index and a clone are for the source.
func holdsSource(path string) bool {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		for _, of := range []string{".git", "HEAD"} {
			if _, err := os.Stat(filepath.Join(path, of)); err == nil {
				return true
			}
		}
		return false
	}
	file, err := archive.Open(path)
	if err == nil {
		_ = file.Close() // It was only read.
	}
	return err != nil
}

// contentOf hashes a file, or what an asset takes of a folder.
func (w *Workspace) contentOf(ctx context.Context, path string, asset catalog.Asset, arch catalog.Arch) (string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		sum, _, err := files.HashNamed(ctx, path)
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
			return fmt.Errorf("%s is imported from %s, whose content no place of %s declares", asset.Name, given.Path, cmp.Or(plan.Recipe.Sources[0].Path, versions.LockFile))
		}
	}
	return nil
}
