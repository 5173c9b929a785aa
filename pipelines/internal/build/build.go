// Package build brings assets into being: for each asset, dependencies first,
// it looks the key up in the store, builds what is missing, and puts the
// tarball where the caller wants it.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Builder builds one recipe. Dependencies maps the names of the recipe's
// dependencies to their tarballs.
type Builder interface {
	Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (Built, error)
}

// Built is what a Builder made: files in a folder that Discard removes.
type Built struct {
	Tarball string
	// Record says, in JSON, what the key leaves open: versions of packages,
	// places of sources, the base and engine that were used.
	Record  []byte
	Discard func() error
}

// Store keeps artifacts by key; see package store.
type Store interface {
	Get(ctx context.Context, ref store.Ref) (store.Artifact, error)
	Put(ctx context.Context, put store.Put) (store.Artifact, error)
	Export(ctx context.Context, artifact store.Artifact, path string) (changed bool, err error)
	Lock(ctx context.Context, ref store.Ref) (unlock func() error, err error)
}

// Scheduler builds assets of a catalog.
type Scheduler struct {
	Catalog  *catalog.Catalog
	Resolver recipe.Resolver
	Store    Store
	Builder  Builder
	// Output is the folder for the tarballs of the assets asked for.
	Output string
	// Scratch is the folder for the tarballs of their dependencies.
	Scratch string
}

// Result is one asset that is in place.
type Result struct {
	Asset  string `json:"asset"`
	Arch   string `json:"arch"`
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Path is the tarball, and Changed is false where it was there already.
	Path    string `json:"path"`
	Changed bool   `json:"changed"`
	// Cached is true where nothing was built.
	Cached bool `json:"cached"`
}

// TarballName returns the file name of an asset's tarball.
func TarballName(asset string) string { return "kata-static-" + asset + ".tar.zst" }

// Build puts the tarballs of the named assets into Output, building them and
// what they depend on where the store has no artifact. It stops at the first
// failure, whose error names the asset.
func (s *Scheduler) Build(ctx context.Context, names []string, arch catalog.Arch) (results []Result, err error) {
	closure, err := s.Catalog.Closure(names, arch)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, name := range names {
		asked[name] = true
	}
	scratch := &scratch{parent: s.Scratch}
	defer func() { err = errors.Join(err, scratch.remove()) }()

	digests, tarballs := map[string]string{}, map[string]string{}
	for _, asset := range closure {
		plan, err := s.Resolver.Resolve(asset, arch, digests)
		if err != nil {
			return results, err
		}
		folder := s.Output
		if !asked[asset.Name] {
			if folder, err = scratch.path(); err != nil {
				return results, err
			}
		}
		path := filepath.Join(folder, TarballName(asset.Name))
		result, err := s.place(ctx, plan, tarballs, path)
		if err != nil {
			return results, fmt.Errorf("building %q: %w", asset.Name, err)
		}
		digests[asset.Name], tarballs[asset.Name] = result.Digest, result.Path
		if asked[asset.Name] {
			results = append(results, result)
		}
	}
	return results, nil
}

// place brings one artifact to a path. A stored artifact that turns out to be
// damaged is built again, once.
func (s *Scheduler) place(ctx context.Context, plan recipe.Plan, tarballs map[string]string, path string) (Result, error) {
	ref := store.Ref{Asset: plan.Recipe.Asset, Arch: plan.Recipe.Arch, Key: plan.Key}
	for attempt := 0; ; attempt++ {
		artifact, cached, err := s.artifact(ctx, ref, plan, tarballs)
		if err != nil {
			return Result{}, err
		}
		changed, err := s.Store.Export(ctx, artifact, path)
		if store.IsNotFound(err) && attempt == 0 {
			continue
		}
		if err != nil {
			return Result{}, fmt.Errorf("writing %s: %w", path, err)
		}
		return Result{
			Asset: ref.Asset, Arch: ref.Arch, Key: ref.Key, Digest: artifact.Digest, Size: artifact.Size,
			Path: path, Changed: changed, Cached: cached,
		}, nil
	}
}

// artifact finds the artifact or builds it, while other processes that want
// the same one wait.
func (s *Scheduler) artifact(ctx context.Context, ref store.Ref, plan recipe.Plan, tarballs map[string]string) (found store.Artifact, cached bool, err error) {
	found, err = s.Store.Get(ctx, ref)
	if err == nil || !store.IsNotFound(err) {
		return found, true, err
	}
	unlock, err := s.Store.Lock(ctx, ref)
	if err != nil {
		return found, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	found, err = s.Store.Get(ctx, ref)
	if err == nil || !store.IsNotFound(err) {
		return found, true, err
	}
	dependencies := map[string]string{}
	for _, dependency := range plan.Recipe.Dependencies {
		dependencies[dependency.Asset] = tarballs[dependency.Asset]
	}
	built, err := s.Builder.Build(ctx, plan, dependencies)
	if err != nil {
		return found, false, err
	}
	defer func() { err = errors.Join(err, built.Discard()) }()
	canonical, err := plan.Recipe.Canonical()
	if err != nil {
		return found, false, err
	}
	found, err = s.Store.Put(ctx, store.Put{Ref: ref, Tarball: built.Tarball, Recipe: canonical, Record: built.Record})
	if err != nil {
		return found, false, fmt.Errorf("storing the artifact: %w", err)
	}
	return found, false, nil
}

// scratch is a folder of one run that is made when it is first needed.
type scratch struct{ parent, dir string }

func (s *scratch) path() (dir string, err error) {
	if s.dir != "" {
		return s.dir, nil
	}
	if err := os.MkdirAll(s.parent, 0o755); err != nil {
		return "", fmt.Errorf("making the scratch folder: %w", err)
	}
	if s.dir, err = os.MkdirTemp(s.parent, "dependencies-"); err != nil {
		return "", fmt.Errorf("making a scratch folder: %w", err)
	}
	return s.dir, nil
}

func (s *scratch) remove() error {
	if s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing a scratch folder: %w", err)
	}
	return nil
}
