package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// treeOptions say which tree the program works on, and where it keeps things.
type treeOptions struct {
	root     string
	versions string
	cache    string
}

func (o *treeOptions) flags(flags *pflag.FlagSet, process Process) {
	flags.StringVar(&o.root, "root", "", "root of the repository (default: the current folder or one above it)")
	flags.StringVar(&o.versions, "versions", "", "file of pins to use instead of the repository's versions.yaml")
	flags.StringVar(&o.cache, "cache-dir", process.Getenv("KATA_PIPELINES_CACHE"),
		"folder of the caches (default: $KATA_PIPELINES_CACHE, or kata-pipelines in the user's cache folder)")
}

// tree is a loaded repository.
type tree struct {
	root string
	// pins is the file that --versions names, or "".
	pins     string
	catalog  *catalog.Catalog
	resolver recipe.Resolver
	warnings []versions.Warning
}

// load reads the declarations of the tree. A file of pins that the caller named
// is not one that `check` has seen, so its warnings are told at once.
func (o *treeOptions) load(stderr io.Writer) (*tree, error) {
	root, err := o.findRoot()
	if err != nil {
		return nil, err
	}
	file := o.versions
	if file == "" {
		file = filepath.Join(root, "versions.yaml")
	}
	pins, warnings, err := versions.Load(relative(file))
	if err != nil {
		return nil, err
	}
	if o.versions != "" {
		warn(stderr, warnings)
	}
	files := recipe.NewTree(os.DirFS(root))
	declared, err := catalog.Load(files)
	if err != nil {
		return nil, err
	}
	return &tree{
		root:     root,
		pins:     o.versions,
		catalog:  declared,
		resolver: recipe.Resolver{Versions: pins, Tree: files},
		warnings: warnings,
	}, nil
}

func warn(w io.Writer, warnings []versions.Warning) {
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

// findRoot goes up from the current folder to the one that holds assets/.
func (o *treeOptions) findRoot() (string, error) {
	if o.root != "" {
		return filepath.Abs(o.root)
	}
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if found, err := filepath.Glob(filepath.Join(dir, "assets", "*", "assets.yaml")); err == nil && len(found) > 0 {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", usage(errors.New("no assets/*/assets.yaml here or above: run this in a checkout of kata-pipelines, or name one with --root"))
		}
	}
}

// cacheDir returns the absolute path of the caches.
func (o *treeOptions) cacheDir() (string, error) {
	if o.cache != "" {
		return filepath.Abs(o.cache)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a folder for the caches (name one with --cache-dir): %w", err)
	}
	return filepath.Join(base, "kata-pipelines"), nil
}

// trimmed returns names as they were meant: "a, b" on a command line has a space, and
// a variable may be empty.
func trimmed(names []string) []string {
	var list []string
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, name)
		}
	}
	return list
}

// catalogWithout returns the catalog with assets left out of its release sets.
func (t *tree) catalogWithout(without []string) (*catalog.Catalog, error) {
	without = trimmed(without)
	reduced := *t.catalog
	reduced.Sets = nil
	left := map[string]bool{}
	for _, set := range t.catalog.Sets {
		components := map[catalog.Arch][]string{}
		for arch, names := range set.Components {
			components[arch] = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
				out := slices.Contains(without, name)
				left[name] = left[name] || out
				return out
			})
		}
		set.Components = components
		reduced.Sets = append(reduced.Sets, set)
	}
	for _, name := range without {
		if !left[name] {
			return nil, usage(fmt.Errorf("--without %s: no release set has it", name))
		}
	}
	return &reduced, nil
}

// find resolves the names of a command line; what does not exist is wrong usage.
func (t *tree) find(names []string, arch string) (catalog.Arch, error) {
	parsed := catalog.HostArch()
	if arch != "" {
		var err error
		if parsed, err = catalog.ParseArch(arch); err != nil {
			return "", usage(err)
		}
	}
	for _, name := range names {
		if _, err := t.catalog.Find(name, parsed); err != nil {
			return "", usage(err)
		}
	}
	return parsed, nil
}

// choose resolves the names of a command line, or takes all assets of the
// architecture.
func (t *tree) choose(names []string, all bool, arch string) ([]string, catalog.Arch, error) {
	switch {
	case all && len(names) > 0:
		return nil, "", usage(errors.New("give names or --all, not both"))
	case !all && len(names) == 0:
		return nil, "", usage(errors.New("name an asset, or say --all (`list` prints all assets)"))
	}
	parsed, err := t.find(names, arch)
	if err != nil || !all {
		return names, parsed, err
	}
	for _, asset := range t.catalog.Assets {
		if slices.Contains(asset.Arches, parsed) {
			names = append(names, asset.Name)
		}
	}
	return names, parsed, nil
}

// relative shortens a path for messages where it lies below the current folder.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}

func archFlag(flags *pflag.FlagSet, arch *string) {
	flags.StringVar(arch, "arch", "", "architecture to build for, such as x86_64 or arm64 (default: this machine's)")
}
