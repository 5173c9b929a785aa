// Package workspace opens a checkout once for a verb: its root, pins, catalog and
// resolver, git, the caches and the registry behind them, and what the environment
// says. It stands on one idea: everything that a verb needs to know about where it
// runs is found here, at the start, so that no package below reads the environment,
// the current folder or a flag.
//
// It resolves which assets a verb works on (Select) and which commit and release
// they belong to (Committed, Moving). It plans and builds nothing: package build does.
package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sbom"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// pinsFile is the file of pins at the root of a checkout.
const pinsFile = "versions.yaml"

// Options say which checkout to open, and with what.
type Options struct {
	// Root is the root of the checkout; "" looks for it from the current folder up.
	Root string
	// Versions is the file of pins; "" is that of the checkout.
	Versions string
	// CacheDir is the folder of the caches; "" is in the user's cache folder.
	CacheDir string
	// Registry is the registry behind the local store, HOST[:PORT]/PATH, or "".
	Registry string
	// Trust is "off", "warn" or "require"; "" is the default of the checkout. Signing says
	// how to sign what is pushed.
	Trust       string
	Signing     Signing
	Environment Environment
	// Report is closed by Close; nil reports nothing.
	Report *progress.Reporter
}

// Workspace is an open checkout.
type Workspace struct {
	Folders
	// Pins is the file of pins. Foreign says that it is not the checkout's own.
	Pins    string
	Foreign bool

	Catalog  *catalog.Catalog
	Resolver recipe.Resolver
	Git      git.Repository
	Store    *store.Tiered
	// Registry is the name of the registry behind the local store, or "".
	Registry string
	// Sources fetches into the local cache, and from the registry.
	Sources *source.Fetcher
	// Signer signs what is pushed; nil signs nothing.
	Signer      *trust.Signer
	Environment Environment
	Report      *progress.Reporter

	// root opens the files of the checkout, none of which is trusted.
	root *files.Tree
}

// Open opens a checkout. It only reads declarations, and no cache or registry.
func Open(_ context.Context, o Options) (*Workspace, error) {
	folders, err := Find(o)
	if err != nil {
		return nil, err
	}
	w := &Workspace{
		Folders: folders, Pins: filepath.Join(folders.Root, pinsFile),
		Git: git.Repository(folders.Root), Registry: o.Registry, Environment: o.Environment, Report: o.Report,
	}
	if o.Versions != "" {
		w.Pins, w.Foreign = o.Versions, true
	}
	if w.root, err = files.OpenTree(w.Root); err != nil {
		return nil, err
	}
	w.Resolver.Tree = recipe.NewTree(w.root)
	if w.Resolver.Versions, err = versions.Load(Relative(w.Pins), w.Resolver.Tree); err != nil {
		return nil, errors.Join(err, w.root.Close())
	}
	if w.Catalog, err = catalog.Load(w.Resolver.Tree); err != nil {
		return nil, errors.Join(err, w.root.Close())
	}
	if w.Store, err = openStore(o, folders.Cache); err == nil {
		err = w.openTrust(o)
	}
	if err != nil {
		return nil, errors.Join(err, w.root.Close())
	}
	w.Sources = &source.Fetcher{
		Dir: filepath.Join(w.Cache, "sources"), Debian: &debian.Resolver{StateDir: filepath.Join(w.Cache, "apt")},
		Tree: w.Resolver.Tree, Cargo: cargo.NewConfig(os.Environ()), Report: o.Report,
	}
	w.Sources.Registries = w.Registries()
	if w.Store.Registry != nil {
		w.Sources.Registry = w.Store.Registry
	}
	return w, nil
}

// Close closes the report and the checkout.
func (w *Workspace) Close() {
	_ = w.root.Close() // It was only read.
	if w.Report != nil {
		w.Report.Close()
	}
}

// Files is the working tree.
func (w *Workspace) Files() fs.FS { return w.Resolver.Tree }

// Resolve returns the recipe of an asset, without the digests of its dependencies, which
// only a build knows.
func (w *Workspace) Resolve(asset catalog.Asset, arch catalog.Arch) (recipe.Plan, error) {
	asset = asset.On(arch)
	digests := map[string]recipe.Digests{}
	for _, name := range asset.Dependencies {
		digests[name] = recipe.Digests{}
	}
	return w.Resolver.Resolve(asset, arch, digests)
}

// Contents returns the store with the documents of what it publishes.
func (w *Workspace) Contents() *sbom.Maker {
	return &sbom.Maker{Tiered: w.Store, Tree: w.Files(), Versions: w.Resolver.Versions, Sources: w.Sources}
}

// Folders are where a checkout and the caches are, as absolute paths.
type Folders struct {
	Root, Cache string
}

// Find finds the folders without reading a declaration.
func Find(o Options) (Folders, error) {
	root, err := findRoot(o.Root)
	if err != nil {
		return Folders{}, err
	}
	cache := o.CacheDir
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return Folders{}, fmt.Errorf("finding a folder for the caches (name one with --cache-dir): %w", err)
		}
		cache = filepath.Join(base, "kata-pipelines")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return Folders{}, err
	}
	if info, err := os.Stat(cache); err == nil && !info.IsDir() {
		return Folders{}, Usage(fmt.Errorf("%s is not a folder: name one with --cache-dir", cache))
	}
	return Folders{root, cache}, private(cache, o.Environment.Sudo)
}

// private refuses caches from which root would run another user's programs. The
// user who became root with sudo is trusted, as git trusts them.
func private(cache, sudo string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owners := []int{0}
	if user, err := strconv.Atoi(sudo); err == nil {
		owners = append(owners, user)
	}
	if err := files.Private(cache, owners...); err != nil {
		return fmt.Errorf("refusing to use the cache folder as root: %w", err)
	}
	return nil
}

// findRoot goes up from the current folder to the one that holds assets/.
func findRoot(root string) (string, error) {
	if root != "" {
		return filepath.Abs(root)
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
			return "", Usage(errors.New("no assets/*/assets.yaml here or above: run this in a checkout of kata-pipelines, or name one with --root"))
		}
	}
}

// Relative shortens a path for messages if it lies below the current folder.
func Relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}

// UsageError is the error of a wrong command line.
type UsageError struct{ error }

func (e *UsageError) Unwrap() error { return e.error }

// Usage marks an error as one of the command line; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{err}
}
